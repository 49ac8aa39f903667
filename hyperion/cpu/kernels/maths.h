/* Elementary functions without branches, tables or calls, so that loops over them become vector code under `#pragma omp simd`.

   Compiled with -DREAL=float, or with -DREAL=double -DWIDE. Errors in units in the last place (ULP) of the exact result, at most, as
   tests/cpu/test_rows.py measures them (float against float64, double against 40 digits):

              float   double   flushed to 0 below
   exp_of      1.1     1.0     -86.6   -707.7    (results that are nearly denormal)
   sigmoid_of  2.2     2.0     likewise
   tanh_of     2.5     2.2
   erf_of      3.1     2.8
   phi_of      7.0     7.0     -12.9   -37.5     (normal distribution; relative to the result in the lower tail, too)

   Infinities and NaN go through as IEEE 754 has them. Polynomials: tests/cpu/fit_maths.py prints them. */
#include <math.h>
#include <stdint.h>

typedef REAL real;
#define INLINE static inline __attribute__((always_inline))

/* Horner's scheme; a is the constant term. */
#define P1(x, a) ((real)(a))
#define P2(x, a, ...) ((real)(a) + (x) * P1(x, __VA_ARGS__))
#define P3(x, a, ...) ((real)(a) + (x) * P2(x, __VA_ARGS__))
#define P4(x, a, ...) ((real)(a) + (x) * P3(x, __VA_ARGS__))
#define P5(x, a, ...) ((real)(a) + (x) * P4(x, __VA_ARGS__))
#define P6(x, a, ...) ((real)(a) + (x) * P5(x, __VA_ARGS__))
#define P7(x, a, ...) ((real)(a) + (x) * P6(x, __VA_ARGS__))
#define P8(x, a, ...) ((real)(a) + (x) * P7(x, __VA_ARGS__))
#define P9(x, a, ...) ((real)(a) + (x) * P8(x, __VA_ARGS__))
#define P10(x, a, ...) ((real)(a) + (x) * P9(x, __VA_ARGS__))
#define P11(x, a, ...) ((real)(a) + (x) * P10(x, __VA_ARGS__))

#ifdef WIDE
typedef int64_t whole;
#define LARGEST INT64_MAX
enum { BITS = 52, BIAS = 1023 };
#define ROUNDER 0x1.8p52
#define LOWEST ((real)-708.4)          /* where exp is flushed to 0 */
#define HIGHEST ((real)710.0)
#define LOG2_HIGH 0x1.62e42feep-1
#define LOG2_LOW 0x1.a39ef35793c76p-33
#define REACH ((real)38.5)
#define FMA fma
#define COPYSIGN copysign
#define EXP_REST(r) P11(r, 0.5, 0.16666666666666671, 0.04166666666666667, 0.0083333333333260831, 0.0013888888888883711, \
    0.00019841269875002279, 2.4801587325677462e-5, 2.7557255170000887e-6, 2.755727347871858e-7, 2.5105312729622102e-8, \
    2.0914755325893202e-9)
#define ERF_HEAD(z) P10(z, 1.1283791670955126, -0.37612638903183751, 0.11283791670954869, -0.02686617064499972, \
    0.0052239776220169364, -0.00085483265107247964, 0.00012055286202005713, -1.4923003368152099e-5, 1.6371234425770001e-6, \
    -1.4620913409451749e-7)
#define TAIL_HIGH(u) P11(u, -0.01799380414808501, 0.00073224910425340996, 0.01212164773775609, -0.0025611863401066809, \
    -0.0083520183103397668, 0.0043228237322499118, 0.0050427304278606654, -0.0050088947512450773, -0.0018741167351755462, \
    0.003636822162078485, -8.5075461523820511e-5 - 0.00097476731460533711 * (u))
#define TAIL(u) (P11(u, 0.18882128260393787, 0.30394832098594588, 0.38713740074221841, 0.37304371591938939, 0.24158629956289193, \
    0.060321511724541374, -0.055675077803195104, -0.052186190124129219, 0.0085340325433815842, 0.029580136059069059, \
    -0.00048842017113303866 + (u) * TAIL_HIGH(u)))
#else
typedef int32_t whole;
#define LARGEST INT32_MAX
enum { BITS = 23, BIAS = 127 };
#define ROUNDER 0x1.8p23f
#define LOWEST (-87.3f)
#define HIGHEST 89.0f
#define LOG2_HIGH 0x1.62e4p-1f
#define LOG2_LOW 0x1.7f7d1cf8p-20f
#define REACH 13.5f
#define FMA fmaf
#define COPYSIGN copysignf
#define EXP_REST(r) P5(r, 0.5, 0.166665767, 0.0416665542, 0.00836323288, 0.00139262508)
#define ERF_HEAD(z) P5(z, 1.12837917, -0.37612609, 0.112828314, -0.0267577327, 0.00471908257)
#define TAIL(u) P10(u, 0.188821285, 0.303948315, 0.387136697, 0.373044691, 0.241627297, 0.0602522768, -0.0564600884, -0.050432309, \
    0.0133418344, 0.0149936323)
#endif

/* 2^n as a number, 0 for the n below the smallest exponent: its bits are those of n, shifted. */
INLINE real power_of_two(whole n) {
  union { whole bits; real value; } scale = {(whole)(n + BIAS) << BITS};
  return scale.value;
}

typedef struct { whole n; real p; } Reduced;             /* exp(x) = 2^n (1 + p) */

INLINE Reduced reduced(real x) {
  union { real value; whole bits; } turned = {x * (real)1.4426950408889634 + (real)ROUNDER};       /* n is in its last bits */
  const real n = turned.value - (real)ROUNDER;
  const union { real value; whole bits; } zero = {(real)ROUNDER};
  const real r = (x - n * (real)LOG2_HIGH) - n * (real)LOG2_LOW;
  return (Reduced){turned.bits - zero.bits, r + r * r * EXP_REST(r)};
}

INLINE real exp_of(real x) {
  x = x < LOWEST ? LOWEST : x;
  x = x > HIGHEST ? HIGHEST : x;
  const Reduced part = reduced(x);
  const real half = power_of_two(part.n - 1);            /* 2^n itself would overflow before exp(x) does */
  return (half + half * part.p) * 2;
}

INLINE real sigmoid_of(real x) {
  const real small = exp_of(x < 0 ? x : -x);
  return (x < 0 ? small : (real)1) / (1 + small);
}

/* Its derivative, sigmoid (1 - sigmoid), without the cancellation of 1 - sigmoid. */
INLINE real sigmoid_slope_of(real x) {
  const real small = exp_of(x < 0 ? x : -x), portion = 1 / (1 + small);
  return small * portion * portion;
}

INLINE real tanh_of(real x) {
  real a = x < 0 ? -x : x;
  a = a > 20 ? 20 : a;
  const Reduced part = reduced(2 * a);
  const real scale = power_of_two(part.n), growth = (scale - 1) + scale * part.p;                  /* exp(2a) - 1 */
  return COPYSIGN(growth / (growth + 2), x);
}

/* exp(-a a / 2), with the rounding error of a a put right; a at most REACH. */
INLINE real bell_of(real a) {
  const real square = a * a, rest = FMA(a, a, -square), e = exp_of(square * (real)-0.5);
  return e * (1 - rest * (real)0.5);
}

/* The probability that a standard normal number is below -a, over exp(-a a / 2); a from 0 to REACH. */
INLINE real tail_of(real a) {
  const real t = 1 / (1 + a * (real)0.25), u = t - (real)0.5;
  return t * TAIL(u);
}

INLINE real within_reach(real x) {
  const real a = x < 0 ? -x : x;
  return a > REACH ? REACH : a;
}

INLINE real phi_of(real x) {
  const real a = within_reach(x), below = tail_of(a) * bell_of(a);
  return x < 0 ? below : 1 - below;
}

INLINE real erf_of(real x) {
  real a = x < 0 ? -x : x;
  a = a > REACH / 2 ? REACH / 2 : a;                     /* erf is 1 from 3.9 (5.9) on */
  const real square = a * a, rest = FMA(a, a, -square), e = exp_of(-square);
  const real far = 1 - 2 * tail_of(a * (real)1.4142135623730951) * (e * (1 - rest)), near = a * ERF_HEAD(square);
  return COPYSIGN(a < (real)0.5 ? near : far, x);
}
