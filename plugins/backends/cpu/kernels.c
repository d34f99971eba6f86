/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Which kernels this machine can run. */
#include "plugins/backends/cpu/kernels.h"

const char *const tier_names[TIER_AMX + 1] = {"scalar", "avx2", "avx512", "avx512bf16", "amx"};

#if defined(CPU_X86)
#include <cpuid.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Not every compiler's __builtin_cpu_supports knows these. */
static int has_f16c(void)
{
	unsigned a = 0, b = 0, c = 0, d = 0;
	return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

static int has_avx512_bf16(void)
{
	unsigned a = 0, b = 0, c = 0, d = 0;
	return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1U << 5);
}

/* Linux gives a process the room for tiles only when asked; asking again is harmless. */
static int has_amx(void)
{
	enum { ARCH_REQ_PERMISSION = 0x1023, TILE_DATA = 18 };
	const unsigned bf16 = 1U << 22, tile = 1U << 24, saved = 3U << 17;
	unsigned a = 0, b = 0, c = 0, d = 0;
	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE) || !__get_cpuid_count(7, 0, &a, &b, &c, &d) ||
		!(d & bf16) || !(d & tile)) {
		return 0;
	}
	uint32_t low = 0, high = 0;
	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return (low & saved) == saved && syscall(SYS_arch_prctl, ARCH_REQ_PERMISSION, TILE_DATA) == 0;
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
	if (!has_avx512_bf16()) {
		return TIER_AVX512;
	}
	return has_amx() ? TIER_AMX : TIER_AVX512BF16;
#else
	return TIER_SCALAR;
#endif
}

void kernels_fill(struct kernels *k, enum tier tier)
{
	kernels_scalar(k);
#if defined(CPU_X86)
	if (tier >= TIER_AVX2) {
		kernels_avx2(k);
	}
	if (tier >= TIER_AVX512) {
		kernels_avx512(k);
	}
	if (tier >= TIER_AVX512BF16) {
		kernels_avx512bf16(k);
	}
	if (tier >= TIER_AMX) {
		kernels_amx(k);
	}
#else
	(void)tier;
#endif
}
