/* More elementary functions without branches, tables or calls; include after maths.h, which says how such functions are compiled. Errors in
   units in the last place at most, as tests/cpu/test_taylor.py measures them:

              float   double
   sin_of      1.7     1.7     relative to the result; |x| < 2^50, NaN beyond
   cos_of      1.7     1.7     likewise
   log_of      1.0     1.0     denormal numbers count as 0
   log1p_of    1.6     1.6
   expm1_of    1.8     1.8

   The polynomials are power series, cut where the rest is below half a unit. */

/* x = n pi/2 + rest. Products are exact, and pi/2 is a sum of three numbers: the rest has full precision next to its zeros, too. */
typedef struct { real rest; whole quarter; } Turned;

#ifdef WIDE
#define WIDE_ONLY(wide, narrow) (wide)
#else
#define WIDE_ONLY(wide, narrow) (narrow)
#endif

INLINE Turned turned(real x) {
  const union { double value; int64_t bits; } shifted = {(double)x * 0.63661977236758134 + 0x1.8p52};
  const double n = shifted.value - 0x1.8p52, most = fma(n, -6.123233995736766e-17, fma(n, -1.5707963267948966, (double)x));
  const double rest = WIDE_ONLY(fma(n, 1.4973849048591698e-33, most), most);
  return (Turned){x < (real)0x1p50 && x > (real)-0x1p50 ? (real)rest : (real)NAN, (whole)(shifted.bits & 3)};
}

#ifdef WIDE
#define SIN_REST(z) P8(z, -1.0 / 6, 1.0 / 120, -1.0 / 5040, 1.0 / 362880, -1.0 / 39916800, 1.0 / 6227020800.0, -1.0 / 1307674368000.0, \
    1.0 / 355687428096000.0)
#define COS_REST(z) P8(z, 1.0 / 24, -1.0 / 720, 1.0 / 40320, -1.0 / 3628800, 1.0 / 479001600, -1.0 / 87178291200.0, \
    1.0 / 20922789888000.0, -1.0 / 6402373705728000.0)
#define LOG_REST(z) P10(z, 2.0 / 3, 2.0 / 5, 2.0 / 7, 2.0 / 9, 2.0 / 11, 2.0 / 13, 2.0 / 15, 2.0 / 17, 2.0 / 19, 2.0 / 21 + 2.0 / 23 * (z))
#define SMALLEST 0x1p-1022
#define HALF_ROOT_BITS 0x3fe6a09e667f3bcd                /* of the square root of 1/2 */
#else
#define SIN_REST(z) P5(z, -1.0 / 6, 1.0 / 120, -1.0 / 5040, 1.0 / 362880, -1.0 / 39916800)
#define COS_REST(z) P5(z, 1.0 / 24, -1.0 / 720, 1.0 / 40320, -1.0 / 3628800, 1.0 / 479001600)
#define LOG_REST(z) P5(z, 2.0 / 3, 2.0 / 5, 2.0 / 7, 2.0 / 9, 2.0 / 11)
#define SMALLEST 0x1p-126f
#define HALF_ROOT_BITS 0x3f3504f3
#endif

/* The sine of the angle, plus a number of quarter turns. */
INLINE real sine_after(real x, whole quarters) {
  const Turned t = turned(x);
  const real r = t.rest, z = r * r, s = r + r * z * SIN_REST(z), c = (1 - z * (real)0.5) + z * z * COS_REST(z);
  const whole quarter = t.quarter + quarters;
  const real size = quarter & 1 ? c : s;
  return quarter & 2 ? -size : size;
}

INLINE real sin_of(real x) { return sine_after(x, 0); }
INLINE real cos_of(real x) { return sine_after(x, 1); }

/* x = 2^n m, m from sqrt(1/2) to sqrt(2); log m by the series of 2 artanh(s), s = (m - 1) / (m + 1). */
INLINE real log_of(real x) {
  const union { real value; whole bits; } given = {x};
  const whole above = given.bits - HALF_ROOT_BITS, n = above >> BITS;
  const union { whole bits; real value; } scaled = {given.bits - (n << BITS)};
  const real f = scaled.value - 1, s = f / (2 + f), z = s * s, half = f * f * (real)0.5, k = (real)n;
  const real found = k * (real)LOG2_HIGH - ((half - (s * (half + z * LOG_REST(z)) + k * (real)LOG2_LOW)) - f);
  return x >= (real)SMALLEST ? (x < (real)INFINITY ? found : x) : x < 0 ? (real)NAN : x == x ? -(real)INFINITY : x;
}

/* 1 + x is rounded; what is lost is put right to first order. */
INLINE real log1p_of(real x) {
  const real u = 1 + x, lost = (x - (u - 1)) / u;
  return log_of(u) + (u > 0 && u < (real)0x1p60 ? lost : 0);
}

INLINE real expm1_of(real x) {
  real near = x > LOWEST ? x : LOWEST;
  near = near < 20 ? near : 20;
  const Reduced part = reduced(near);
  const real scale = power_of_two(part.n), growth = (scale - 1) + scale * part.p;
  return x < 20 ? growth : exp_of(x) - 1;
}
