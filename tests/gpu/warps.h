// What numbers.cuh and warp.cuh say in the assembler's words, for kernels on the CPU; comes after emulator.h. Threads of a block take the
// same steps, and meet at each instruction of a warp. Copies arrive when they are waited for, not before. `races` counts uses of shared
// memory by several warps, one of which writes, without a __syncthreads() between them; a copy writes from when it is asked for until
// it is waited for.
#include <cfloat>
#include <cstdint>
#include <cstring>

typedef unsigned int u32;
typedef unsigned long long u64;
typedef unsigned short u16;
struct float2 {
  float x, y;
};
struct uint4 {
  u32 x, y, z, w;
};
struct float4 {
  float x, y, z, w;
};
#define __grid_constant__
static float2 make_float2(float x, float y) { return {x, y}; }
template <class T>
static T __ldg(const T *p) { return *p; }
template <class T>
static T as(const void *p) {
  T x;
  memcpy(&x, p, sizeof x);
  return x;
}
static float __int_as_float(int x) { return as<float>(&x); }
static float __uint_as_float(u32 x) { return as<float>(&x); }
static u32 __float_as_uint(float x) { return as<u32>(&x); }
static u64 __umul64hi(u64 x, u64 y) { return static_cast<unsigned __int128>(x) * y >> 64; }
static int min(int x, int y) { return x < y ? x : y; }
static int max(int x, int y) { return x > y ? x : y; }
static void __syncwarp() { __syncthreads(); }

static void meet() { __syncthreads(); }
static unsigned epochs[1024];  // how many times each thread has met all others
static void everybody_meets() {
  epochs[current]++;
  meet();
}

alignas(1024) static char shared_room[232448];
struct Word {
  unsigned block, landed, epoch;  // who wrote last, when that was over, and which warps have read since which epoch
  int writer;
  u32 readers;
};
static Word words_of_room[sizeof shared_room / 4];
static unsigned block_number;
extern "C" int races;
int races = 0;
static u32 shared_address(const void *p) {
  if (current == 0) block_number++;  // every thread begins with this
  return static_cast<const char *>(p) - shared_room;
}
static Word &word_at(u32 at) {
  Word &word = words_of_room[at / 4];
  if (word.block != block_number) word = {block_number, 0, 0, -1, 0};
  return word;
}
static void reads(u32 at, unsigned bytes) {
  const int warp = current / 32;
  for (u32 i = at & ~3u; i < at + bytes; i += 4) {
    Word &word = word_at(i);
    if (word.writer >= 0 && word.writer != warp && epochs[current] <= word.landed) races++;
    if (word.epoch != epochs[current]) word.readers = 0;
    word.epoch = epochs[current];
    word.readers |= 1u << warp;
  }
}
static void writes(u32 at, unsigned bytes, int writer, bool lasts) {
  const int warp = current / 32;
  for (u32 i = at; i < at + bytes; i += 4) {
    Word &word = word_at(i);
    if (word.epoch == epochs[current] && (lasts ? word.readers : word.readers & ~(1u << warp))) races++;
    if (word.writer >= 0 && word.writer != writer && epochs[current] <= word.landed) races++;
    word.writer = writer;
    word.landed = lasts ? ~0u : epochs[current];
  }
}
static float exp2_fast(float x) { return exp2f(x); }

static u16 half_of(float x) {
#if BF16
  u32 bits = __float_as_uint(x);
  return x != x ? 0x7fff : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
#else
  _Float16 h = static_cast<_Float16>(x);
  return as<u16>(&h);
#endif
}
static float number_of(u16 bits) {
#if BF16
  return __uint_as_float(static_cast<u32>(bits) << 16);
#else
  return static_cast<float>(as<_Float16>(&bits));
#endif
}
static u32 packed(float low, float high) { return half_of(low) | static_cast<u32>(half_of(high)) << 16; }
static float2 unpacked(u32 pair) { return {number_of(static_cast<u16>(pair)), number_of(static_cast<u16>(pair >> 16))}; }
static uint4 load_16_bytes(u32 at) {
  reads(at, 16);
  return as<uint4>(shared_room + at);
}
static float load_single(u32 at) {
  reads(at, 4);
  return as<float>(shared_room + at);
}
static float2 load_singles(u32 at) {
  reads(at, 8);
  return as<float2>(shared_room + at);
}
static void store_singles(u32 at, float x, float y) {
  const float2 pair = {x, y};
  writes(at, 8, current / 32, false);
  memcpy(shared_room + at, &pair, 8);
}
static void store_word(u32 at, u32 x) {
  writes(at, 4, current / 32, false);
  memcpy(shared_room + at, &x, 4);
}
static int load_now(const int *p) { return *p; }

struct Copy {
  u32 to;
  uint4 what;
  int group;
};
static std::vector<Copy> copies[1024];
static int groups[1024];  // of copies that each thread has closed
static void copy_pack(u32 to, const void *from, bool there) {
  Copy copy = {to, {0, 0, 0, 0}, groups[current]};
  if (there) memcpy(&copy.what, from, 16);
  writes(to, 16, 1000 + current, true);
  copies[current].push_back(copy);
}
static void copies_commit() { groups[current]++; }
template <int N>
static void copies_wait() {  // for all but the last N groups
  std::vector<Copy> left;
  for (const Copy &copy : copies[current]) {
    if (copy.group >= groups[current] - N) {
      left.push_back(copy);
      continue;
    }
    memcpy(shared_room + copy.to, &copy.what, 16);
    for (u32 i = copy.to; i < copy.to + 16; i += 4) word_at(i).landed = epochs[current];
  }
  copies[current].swap(left);
}

static u32 rows_at[1024];
static void load_matrices(u32 (&d)[4], u32 at) {
  rows_at[current] = at;
  reads(at, 16);
  __syncthreads();
  const unsigned warp = current & ~31u, lane = current & 31;
  for (int m = 0; m < 4; m++) d[m] = as<u32>(shared_room + rows_at[warp + 8 * m + lane / 4] + lane % 4 * 4);
  __syncthreads();
}
static void load_matrices_turned(u32 (&d)[4], u32 at) {
  rows_at[current] = at;
  reads(at, 16);
  __syncthreads();
  const unsigned warp = current & ~31u, lane = current & 31;
  for (int m = 0; m < 4; m++)
    for (int e = 0; e < 2; e++) {
      const u32 x = as<u16>(shared_room + rows_at[warp + 8 * m + 2 * (lane % 4) + e] + lane / 4 * 2);
      d[m] = e ? d[m] | x << 16 : x;
    }
  __syncthreads();
}

struct Factors {
  u32 a[4], b[2];
};
static Factors factors[1024];
template <class Number, int INNER>
static void multiplied(float *c, const u32 (&a)[4], u32 b0, u32 b1, Number number) {
  factors[current] = {{a[0], a[1], a[2], a[3]}, {b0, b1}};
  __syncthreads();
  const unsigned warp = current & ~31u, lane = current & 31;
  for (int e = 0; e < 4; e++) {
    const int row = e / 2, column = 2 * (lane % 4) + e % 2;         // of the halves of 8 rows
    double sum = c[e];
    for (int k = 0; k < INNER; k++) {
      const int each = INNER / 8, far = k / (INNER / 2), at = k % (INNER / 2);
      sum += static_cast<double>(number(factors[warp + lane / 4 * 4 + at / each].a[row + 2 * far], at % each)) *
             number(factors[warp + column * 4 + at / each].b[far], at % each);
    }
    c[e] = static_cast<float>(sum);
  }
  __syncthreads();
}
static float half_number(u32 pair, int which) { return number_of(static_cast<u16>(which ? pair >> 16 : pair)); }
static float single_number(u32 bits, int) { return __uint_as_float(bits & 0xffffe000u); }
static void product(float *c, const u32 (&a)[4], u32 b0, u32 b1) { multiplied<float (*)(u32, int), 16>(c, a, b0, b1, half_number); }
static void product_of_singles(float *c, const u32 (&a)[4], u32 b0, u32 b1) {
  multiplied<float (*)(u32, int), 8>(c, a, b0, b1, single_number);
}
#define __syncthreads() everybody_meets()
