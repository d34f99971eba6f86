/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Which kernels this machine can run. */
#include "plugins/backends/cpu/kernels.h"

enum tier kernels_best(void)
{
#if defined(CPU_X86)
	/* __builtin_cpu_supports looks at what the operating system saves (XGETBV) too. */
	__builtin_cpu_init();
	if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
		return TIER_SCALAR;
	}
	if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
		!__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512dq")) {
		return TIER_AVX2;
	}
	return TIER_AVX512;
#else
	return TIER_SCALAR;
#endif
}

void kernels_fill(struct kernels *k, enum tier tier)
{
	kernels_scalar(k);
#if defined(CPU_X86)
	if (tier < TIER_AVX2) {
		return;
	}
	kernels_avx2(k);
	if (tier < TIER_AVX512) {
		return;
	}
	kernels_avx512(k);
#else
	(void)tier;
#endif
}
