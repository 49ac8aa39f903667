/* Types, and how numbers of 16 bits and shared memory are handled on all GPUs from sm_80 on.
   Compiled with -DBF16=1 for bfloat16, 0 for float16. */

typedef unsigned int u32;
typedef unsigned long long u64;
typedef unsigned short u16;

#if BF16
#define HALF "bf16"
#else
#define HALF "f16"
#endif

__device__ __forceinline__ u32 shared_address(const void *p) { return (u32)__cvta_generic_to_shared(p); }

__device__ __forceinline__ float exp2_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
/* two numbers rounded to 16 bits, the first one in the lower half */
__device__ __forceinline__ u32 packed(float low, float high) {
    u32 pair;
    asm("cvt.rn." HALF "x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}
__device__ __forceinline__ float2 unpacked(u32 pair) {
#if BF16
    return make_float2(__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000u));
#else
    float low, high;
    asm("{.reg .b16 l, h; mov.b32 {l, h}, %2; cvt.f32.f16 %0, l; cvt.f32.f16 %1, h;}" : "=f"(low), "=f"(high) : "r"(pair));
    return make_float2(low, high);
#endif
}
__device__ __forceinline__ uint4 load_16_bytes(u32 address) {
    uint4 v;
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(address) : "memory");
    return v;
}
/* a load that the compiler leaves where it stands: many at a time would take registers that are not there */
__device__ __forceinline__ int load_now(const int *p) {
    int v;
    asm volatile("ld.global.nc.s32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
    return v;
}
