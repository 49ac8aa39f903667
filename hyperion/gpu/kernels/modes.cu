/* Fourier coefficients from products with cosines and sines, and back. Compiled with -DREAL=float|double -DRANK=1|2|3.

   Matrix products with the cosines and sines of each axis leave a table part[a1, k1, a2, k2, .., j]: a = 0 for the cosine, 1 for the sine of
   frequency k >= 0 of an axis; j counts the functions. The wave of frequency s k, s = 1 or -1, is cosine + i s sine, so coefficients are
   sums of 2^RANK parts, each times a power of i and the signs of the axes whose sine it has. Frequencies of the last axis are not negative.
   kept1.. are the numbers of frequencies along the axes, those before the last from -(kept / 2) on; an axis has count = kept / 2 + 1 of one
   sign, the last one kept. Blocks: (functions, frequencies). */

typedef REAL real;
struct alignas(2 * sizeof(real)) Complex { real re, im; };

struct Sizes { int kept[3], count[3]; };

__device__ Sizes sizes_of(int kept1, int kept2, int kept3) {
    Sizes s = {{kept1, kept2, kept3}, {kept1 / 2 + 1, kept2 / 2 + 1, kept3 / 2 + 1}};
    s.count[RANK - 1] = s.kept[RANK - 1];
    return s;
}

/* out[f1, f2, .., j] = the coefficient of the frequencies f */
extern "C" __global__ void combine(const real *__restrict__ part, Complex *__restrict__ out, int kept1, int kept2, int kept3, int size) {
    Sizes s = sizes_of(kept1, kept2, kept3);
    int j = blockIdx.x * blockDim.x + threadIdx.x, total = 1;
    for (int axis = 0; axis < RANK; axis++) total *= s.kept[axis];
    if (j >= size) return;
    for (int f = blockIdx.y; f < total; f += gridDim.y) {
        int place[RANK], sign[RANK], rest = f;
        #pragma unroll
        for (int axis = RANK - 1; axis >= 0; axis--) {
            int k = rest % s.kept[axis] - (axis < RANK - 1 ? s.kept[axis] / 2 : 0);
            rest /= s.kept[axis];
            place[axis] = k < 0 ? -k : k;
            sign[axis] = k < 0 ? -1 : 1;
        }
        Complex sum = {0, 0};
        #pragma unroll
        for (int which = 0; which < 1 << RANK; which++) {           /* bit `axis` of which: the sine of that axis */
            int power = 0, factor = 1;
            long long at = 0;
            #pragma unroll
            for (int axis = 0; axis < RANK; axis++) {
                int sine = which >> axis & 1;
                power += sine;
                factor *= sine ? sign[axis] : 1;
                at = (at * 2 + sine) * s.count[axis] + place[axis];
            }
            real value = (power & 2 ? -factor : factor) * part[at * size + j];
            if (power & 1) sum.im += value;
            else sum.re += value;
        }
        out[(long long)f * size + j] = sum;
    }
}

/* part[a1, k1, .., j] = the real part of the sum, over the frequencies with those k, of y times the factors above: the transpose. */
extern "C" __global__ void split(const Complex *__restrict__ y, real *__restrict__ part, int kept1, int kept2, int kept3, int size) {
    Sizes s = sizes_of(kept1, kept2, kept3);
    int j = blockIdx.x * blockDim.x + threadIdx.x, total = 1;
    for (int axis = 0; axis < RANK; axis++) total *= 2 * s.count[axis];
    if (j >= size) return;
    for (int f = blockIdx.y; f < total; f += gridDim.y) {
        int place[RANK], sine[RANK], rest = f, power = 0;
        #pragma unroll
        for (int axis = RANK - 1; axis >= 0; axis--) {
            place[axis] = rest % s.count[axis];
            rest /= s.count[axis];
            sine[axis] = rest % 2;
            rest /= 2;
            power += sine[axis];
        }
        real sum = 0;
        #pragma unroll
        for (int which = 0; which < 1 << (RANK - 1); which++) {     /* bit `axis` of which: the negative frequency of that axis */
            int factor = 1;
            bool there = true;
            long long at = 0;
            #pragma unroll
            for (int axis = 0; axis < RANK; axis++) {
                int half = axis < RANK - 1 ? s.kept[axis] / 2 : 0, k = place[axis];
                if (which >> axis & 1) {
                    there = there && k > 0;
                    factor *= sine[axis] ? -1 : 1;
                    k = -k;
                }
                there = there && k + half >= 0 && k + half < s.kept[axis];
                at = at * s.kept[axis] + k + half;
            }
            if (there) {
                Complex value = y[at * size + j];
                sum += factor * (power & 1 ? value.im : value.re);
            }
        }
        /* Re(i^power (re + i im)): re, -im, -re, im */
        part[(long long)f * size + j] = power == 1 || power == 2 ? -sum : sum;
    }
}
