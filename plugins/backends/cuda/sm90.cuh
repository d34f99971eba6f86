// SPDX-FileCopyrightText: cwpd developers
// SPDX-License-Identifier: Apache-2.0
// Hopper's own instructions: barriers that count bytes, copies of boxes by tensor maps, products of warpgroups.
#ifndef CUDA_SM90_CUH
#define CUDA_SM90_CUH

#include <stdint.h>

#include <cuda.h>

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

namespace sm90
{

__device__ __forceinline__ uint32_t shared_address(const void *p)
{
	return (uint32_t)__cvta_generic_to_shared(p);
}

__device__ __forceinline__ void store_shared(uint32_t at, uint32_t v)
{
	asm volatile("st.shared.u32 [%0], %1;" ::"r"(at), "r"(v) : "memory");
}

__device__ __forceinline__ uint32_t load_shared(uint32_t at)
{
	uint32_t v;
	asm volatile("ld.shared.u32 %0, [%1];" : "=r"(v) : "r"(at) : "memory");
	return v;
}

__device__ __forceinline__ void barrier_init(uint32_t barrier, uint32_t arrivals)
{
	asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

// After barrier_init, before other blocks of the cluster or copies use the barriers.
__device__ __forceinline__ void barrier_init_fence()
{
	asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

// Arrives, and lets the phase wait for so many bytes more.
__device__ __forceinline__ void barrier_expect(uint32_t barrier, uint32_t bytes)
{
	asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}

// Arrives at the barrier of the same address in block `rank` of the cluster. Without the scope of a cluster, which would order
// ordinary memory too and costs hundreds of cycles: what this tells is that tensor cores have read.
__device__ __forceinline__ void barrier_arrive(uint32_t barrier, uint32_t rank)
{
	asm volatile("{ .reg .b32 there;\n"
		     "mapa.shared::cluster.u32 there, %0, %1;\n"
		     "mbarrier.arrive.shared::cluster.b64 _, [there]; }" ::"r"(barrier),
		"r"(rank)
		: "memory");
}

__device__ __forceinline__ void barrier_arrive(uint32_t barrier)
{
	asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

// Waits until the phase of this parity is over.
__device__ __forceinline__ void barrier_wait(uint32_t barrier, uint32_t parity)
{
	asm volatile("{ .reg .pred done;\n"
		     "again: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
		     "@!done bra again; }" ::"r"(barrier),
		"r"(parity)
		: "memory");
}

__device__ __forceinline__ uint32_t cluster_rank()
{
	uint32_t rank;
	asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
	return rank;
}

__device__ __forceinline__ void cluster_sync()
{
	asm volatile("barrier.cluster.arrive.release;\n"
		     "barrier.cluster.wait.acquire;" ::: "memory");
}

__device__ __forceinline__ void prefetch_map(const CUtensorMap *map)
{
	asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

// The box at column x, row y into shared memory; its bytes count at the barrier.
__device__ __forceinline__ void copy_box(uint32_t to, const CUtensorMap *map, uint32_t x, uint32_t y, uint32_t barrier)
{
	asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::
			     "r"(to),
		"l"(map), "r"(x), "r"(y), "r"(barrier)
		: "memory");
}

// The same into all blocks of the cluster that mask names, at the same address in each.
__device__ __forceinline__ void copy_box_to(
	uint32_t to, const CUtensorMap *map, uint32_t x, uint32_t y, uint32_t barrier, uint16_t mask)
{
	asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster"
		     " [%0], [%1, {%2, %3}], [%4], %5;" ::"r"(to),
		"l"(map), "r"(x), "r"(y), "r"(barrier), "h"(mask)
		: "memory");
}

// What this thread wrote to shared memory is there for tensor cores and copies, after the next barrier.
__device__ __forceinline__ void proxy_fence()
{
	asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

template <int REGISTERS> __device__ __forceinline__ void registers_more()
{
	asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}

template <int REGISTERS> __device__ __forceinline__ void registers_less()
{
	asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}

__device__ __forceinline__ void wgmma_fence()
{
	asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

__device__ __forceinline__ void wgmma_commit()
{
	asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

// Until at most PENDING groups are under way.
template <int PENDING> __device__ __forceinline__ void wgmma_wait()
{
	asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}

// Keeps the compiler from moving uses of d across this place.
template <int N> __device__ __forceinline__ void hold(float (&d)[N])
{
#pragma unroll
	for (int i = 0; i < N; i++) {
		asm volatile("" : "+f"(d[i])::"memory");
	}
}

// Describes an operand in shared memory whose rows are steps of the reduction ("MN-major"), as copies with a swizzle of 128
// bytes leave it: panels of 64 columns in BF16, so rows of 128 bytes, eight of which are one pattern of 1024 bytes. The stride
// is from eight rows to the next eight, the leading distance from one panel to the next.
__device__ __forceinline__ uint64_t describe_panels(uint32_t address, uint32_t panel_bytes)
{
	return (uint64_t)((address & 0x3ffff) >> 4) | (uint64_t)(panel_bytes >> 4) << 16 | (uint64_t)(1024 >> 4) << 32 |
	       (uint64_t)1 << 62;
}

// D [64, N] (keep ? += : =) A^T B, for A [16, 64] and B [16, N] described as above. Of D, thread t of the warpgroup holds
// D[16 * (t / 32) + t % 32 / 4 + 8 * h][8 * j + t % 4 * 2 + i] in d[4 * j + 2 * h + i].
template <int N> struct wgmma;

#define WGMMA_D4(i) "+f"(d[i]), "+f"(d[(i) + 1]), "+f"(d[(i) + 2]), "+f"(d[(i) + 3])
#define WGMMA_D16(i) WGMMA_D4(i), WGMMA_D4((i) + 4), WGMMA_D4((i) + 8), WGMMA_D4((i) + 12)

template <> struct wgmma<128> {
	static __device__ __forceinline__ void multiply(float (&d)[64], uint64_t a, uint64_t b, int keep)
	{
		asm volatile("{ .reg .pred keep; setp.ne.b32 keep, %66, 0;\n"
			     "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
			     "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15,"
			     "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31,"
			     "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47,"
			     "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63},"
			     " %64, %65, keep, 1, 1, 1, 1; }\n"
			     : WGMMA_D16(0), WGMMA_D16(16), WGMMA_D16(32), WGMMA_D16(48)
			     : "l"(a), "l"(b), "r"(keep));
	}
};

template <> struct wgmma<192> {
	static __device__ __forceinline__ void multiply(float (&d)[96], uint64_t a, uint64_t b, int keep)
	{
		asm volatile("{ .reg .pred keep; setp.ne.b32 keep, %98, 0;\n"
			     "wgmma.mma_async.sync.aligned.m64n192k16.f32.bf16.bf16 {"
			     "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15,"
			     "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31,"
			     "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47,"
			     "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63,"
			     "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79,"
			     "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95},"
			     " %96, %97, keep, 1, 1, 1, 1; }\n"
			     : WGMMA_D16(0), WGMMA_D16(16), WGMMA_D16(32), WGMMA_D16(48), WGMMA_D16(64), WGMMA_D16(80)
			     : "l"(a), "l"(b), "r"(keep));
	}
};

#undef WGMMA_D4
#undef WGMMA_D16

} // namespace sm90

#endif
#endif
