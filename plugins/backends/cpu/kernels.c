/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Which kernels this machine can run. */
#include "plugins/backends/cpu/kernels.h"

#if defined(CPU_X86)
#include <cpuid.h>

/* Not every compiler's __builtin_cpu_supports knows it. */
static int has_f16c(void)
{
	unsigned a = 0, b = 0, c = 0, d = 0;
	return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#endif

enum tier kernels_best(void)
{
#if defined(CPU_X86)
	/* __builtin_cpu_supports looks at what the operating system saves (XGETBV) too. */
	__builtin_cpu_init();
	if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !has_f16c()) {
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
