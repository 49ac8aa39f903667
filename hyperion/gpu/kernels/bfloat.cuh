/* Numbers as they lie in memory, -DREAL=float|double|bfloat, and as they are computed with: bfloat16 in float. */

struct bfloat { unsigned short bits; };         /* bfloat16: the upper half of a float */
template <class T> struct Wide { typedef float type; };
template <> struct Wide<double> { typedef double type; };

__device__ float wide(float x) { return x; }
__device__ double wide(double x) { return x; }
__device__ float wide(bfloat x) {
    union { unsigned bits; float value; } both;
    both.bits = (unsigned)x.bits << 16;
    return both.value;
}
__device__ void put(float &to, float x) { to = x; }
__device__ void put(double &to, double x) { to = x; }
__device__ void put(bfloat &to, float x) {      /* rounded to the nearest, ties to even */
    union { float value; unsigned bits; } both;
    both.value = x;
    to.bits = x != x ? 0x7fc0 : (unsigned short)((both.bits + 0x7fff + ((both.bits >> 16) & 1)) >> 16);
}
