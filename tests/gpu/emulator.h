// Runs a CUDA kernel on the CPU, one thread after the other: a thread is a coroutine, which gives way to the next where it waits.
// For tests of what kernels compute; the kernel's text follows this one.
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <tuple>
#include <utility>
#include <vector>

struct Dim {
  unsigned x, y, z;
};
static Dim threadIdx, blockIdx, blockDim, gridDim;

#define __global__ static
#define __device__ inline
#define __shared__ static  // blocks run one after the other
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __forceinline__

static int __float_as_int(float x) { return __builtin_bit_cast(int, x); }
static int __double2hiint(double x) { return static_cast<int>(__builtin_bit_cast(long long, x) >> 32); }
static int __double2loint(double x) { return static_cast<int>(__builtin_bit_cast(long long, x)); }
static float normcdff(float x) { return 0.5f * erfcf(-0.70710678118654752f * x); }
static double normcdf(double x) { return 0.5 * erfc(-0.70710678118654752 * x); }

static ucontext_t scheduler;
static std::vector<ucontext_t> threads;
static std::vector<char> ended;
static unsigned current;
static void (*entry)(void **);
static void **given;

static unsigned alive, waiting, barriers;  // threads that have not ended, those at a barrier, barriers passed
static int votes[2];

static void give_way() { swapcontext(&threads[current], &scheduler); }

static void let_pass() {
  waiting = 0;
  votes[++barriers % 2] = 0;
}

// A barrier: whether any thread came with a vote.
static int __syncthreads_or(int vote) {
  const unsigned mine = barriers;
  votes[mine % 2] |= vote != 0;
  const int *const cast = &votes[mine % 2];
  if (++waiting == alive) let_pass();
  while (mine == barriers) give_way();
  return *cast;
}

static void __syncthreads() { __syncthreads_or(0); }

static unsigned offered[1024], taken[1024];  // exchanges of each thread of a block so far

// What the thread whose number differs in the bits of `lanes` holds: the two wait for each other, and either may be ahead by then.
template <class T>
static T __shfl_xor_sync(unsigned, T value, int lanes) {
  static T held[1024];
  const unsigned other = current ^ lanes, turn = offered[current] + 1;
  held[current] = value;
  offered[current] = turn;
  while (offered[other] < turn) give_way();
  const T found = held[other];
  taken[current] = turn;
  while (taken[other] < turn) give_way();  // until then what is held here must stay
  return found;
}

static void start() {
  entry(given);
  ended[current] = 1;
}

static void run_block() {
#ifdef ALONE  // no thread waits for another
  for (unsigned t = 0; t < blockDim.x; t++) {
    threadIdx = {t, 0, 0};
    entry(given);
  }
  return;
#endif
  enum { STACK = 1 << 16 };
  const unsigned count = blockDim.x;
  static std::vector<char> stacks;
  stacks.resize(static_cast<size_t>(STACK) * count);
  threads.resize(count);
  ended.assign(count, 0);
  alive = count;
  waiting = 0;
  std::fill_n(offered, 1024, 0);
  std::fill_n(taken, 1024, 0);
  for (unsigned t = 0; t < count; t++) {
    getcontext(&threads[t]);
    threads[t].uc_stack.ss_sp = stacks.data() + static_cast<size_t>(STACK) * t;
    threads[t].uc_stack.ss_size = STACK;
    threads[t].uc_link = &scheduler;
    makecontext(&threads[t], start, 0);
  }
  for (unsigned left = count; left;) {
    for (current = 0; current < count; current++) {
      if (ended[current]) continue;
      threadIdx = {current, 0, 0};
      swapcontext(&scheduler, &threads[current]);
      left -= ended[current];
      alive -= ended[current];
      if (ended[current] && waiting && waiting == alive) let_pass();
    }
  }
}

template <class... Arguments, size_t... I>
static void call(void (*kernel)(Arguments...), void **arguments, std::index_sequence<I...>) {
  kernel(*static_cast<std::remove_reference_t<Arguments> *>(arguments[I])...);
}

template <auto kernel, class... Arguments>
static void unpacked(void **arguments) {
  call(static_cast<void (*)(Arguments...)>(kernel), arguments, std::index_sequence_for<Arguments...>());
}

template <auto kernel, class... Arguments>
static void launched(void (*)(Arguments...), Dim grid, unsigned block, bool backwards, void **arguments) {
  gridDim = grid;
  blockDim = {block, 1, 1};
  entry = unpacked<kernel, Arguments...>;
  given = arguments;
  for (blockIdx.z = 0; blockIdx.z < grid.z; blockIdx.z++)
    for (blockIdx.y = 0; blockIdx.y < grid.y; blockIdx.y++)
      for (unsigned x = 0; x < grid.x; x++) {
        blockIdx.x = backwards ? grid.x - 1 - x : x;
        run_block();
      }
}
