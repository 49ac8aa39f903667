/* The instructions of Hopper GPUs (sm_90a) that the attention kernels are made of, one function each:

   - the copy engine (TMA): one thread asks for a tile of a tensor in device memory; it lands in shared memory, swizzled, zeros beyond the edges
   - mbarriers: count arrivals of threads and bytes of copies; who waits for a phase sees what was written before it was complete
   - wgmma: matrix products of a warpgroup (128 threads); the accumulator lies in registers, B and perhaps A in shared memory, asynchronous

   A tile in shared memory has rows of 64 numbers of 16 bits (128 bytes), 8 rows of which are swizzled among each other; wider tiles are
   several such columns, one after the other. Comes after numbers.cuh.
   Source: the PTX ISA 8.5, sections 9.7.13 (mbarrier), 9.7.9.27 (cp.async.bulk.tensor), 9.7.15 (wgmma). */

struct __align__(64) TensorMap { char bytes[128]; };

/* ---- mbarriers: addresses in shared memory, 8 bytes each */

__device__ __forceinline__ void barrier_init(u32 barrier, u32 arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" :: "r"(barrier), "r"(arrivals));
}
__device__ __forceinline__ void barriers_ready() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
/* arrive, and let the phase wait for that many bytes of copies too */
__device__ __forceinline__ void arrive_expecting(u32 barrier, u32 bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" :: "r"(barrier), "r"(bytes) : "memory");
}
__device__ __forceinline__ void arrive(u32 barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" :: "r"(barrier) : "memory");
}
/* wait until the phase of a parity (0, 1, 0, ...) is complete */
__device__ __forceinline__ void wait(u32 barrier, u32 parity) {
    u32 done;
    do {
        asm volatile("{.reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p;}"
                     : "=r"(done) : "r"(barrier), "r"(parity) : "memory");
    } while (!done);
}

/* ---- copies */

/* a box of a tensor (head size, tokens, heads, batch) from (column, row, head, batch) on */
__device__ __forceinline__ void copy_tile(u32 to, const TensorMap *map, int column, int row, int head, int batch, u32 barrier) {
    asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4, %5}], [%6];"
                 :: "r"(to), "l"(map), "r"(column), "r"(row), "r"(head), "r"(batch), "r"(barrier) : "memory");
}
/* bytes in a row, a multiple of 16 */
__device__ __forceinline__ void copy_bytes(u32 to, const void *from, u32 bytes, u32 barrier) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
                 :: "r"(to), "l"(from), "r"(bytes), "r"(barrier) : "memory");
}

/* ---- wgmma */

/* Where a matrix lies in shared memory, for tiles in 128-byte swizzle: groups of 8 rows are 1024 bytes apart. `columns`: bytes between
   columns of 64 numbers, which counts only where the rows of the tile are the inner index of the product. */
__device__ __forceinline__ u32 matrix_at(u32 address, u32 columns) { return (address >> 4) | ((columns >> 4) << 16); }
__device__ __forceinline__ u64 matrix(u32 at, u32 offset) { return ((u64)(0x40000000u | (1024u >> 4)) << 32) | (u64)(at + (offset >> 4)); }

__device__ __forceinline__ void products_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void products_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int N> __device__ __forceinline__ void products_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" :: "n"(N) : "memory"); }

/* ---- shares of registers between warpgroups */
template <int N> __device__ __forceinline__ void registers_fewer() { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" :: "n"(N)); }
template <int N> __device__ __forceinline__ void registers_more() { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" :: "n"(N)); }

/* ---- shared memory and sums */

__device__ __forceinline__ float2 load_pair(u32 address) {
    float2 pair;
    asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(pair.x), "=f"(pair.y) : "r"(address));
    return pair;
}
/* four 8 x 8 matrices of 16 bits from fragments to shared memory, as they are or transposed; each lane gives the address of a row */
__device__ __forceinline__ void store_matrices(u32 address, u32 a, u32 b, u32 c, u32 d) {
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};"
                 :: "r"(address), "r"(a), "r"(b), "r"(c), "r"(d) : "memory");
}
__device__ __forceinline__ void store_matrices_turned(u32 address, u32 a, u32 b, u32 c, u32 d) {
    asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};"
                 :: "r"(address), "r"(a), "r"(b), "r"(c), "r"(d) : "memory");
}
/* what this thread wrote to shared memory becomes visible to wgmma and the copy engine */
__device__ __forceinline__ void written_for_products() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
__device__ __forceinline__ void add_four(float *to, float a, float b, float c, float d) {
    asm volatile("red.relaxed.gpu.global.add.v4.f32 [%0], {%1, %2, %3, %4};" :: "l"(to), "f"(a), "f"(b), "f"(c), "f"(d) : "memory");
}
