/* What the text of fused loops (codegen/loops.py) needs; after maths.h and waves.h. */
#ifdef WIDE
#define SQRT sqrt
#define FLOOR floor
#define CEIL ceil
#define TRUNC trunc
#define ABS fabs
#else
#define SQRT sqrtf
#define FLOOR floorf
#define CEIL ceilf
#define TRUNC truncf
#define ABS fabsf
#endif
