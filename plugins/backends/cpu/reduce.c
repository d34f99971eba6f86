/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Numbers of several handles in one: the second is added to the first, then the third. */
#include "plugins/backends/cpu/cpu.h"

static void sum_f32(float *y, const float *x, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		y[i] += x[i];
	}
}

static void sum_f64(double *y, const double *x, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		y[i] += x[i];
	}
}

static void sum_u64(uint64_t *y, const uint64_t *x, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		y[i] += x[i];
	}
}

static void max_f32(float *y, const float *x, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		y[i] = x[i] > y[i] ? x[i] : y[i];
	}
}

int cpu_reduce(void *const *b, uint32_t n, uint32_t kind, void *const *d_x, uint64_t count)
{
	if (n == 0 || kind < CWP_REDUCE_SUM_F32 || kind > CWP_REDUCE_MAX_F32) {
		return n == 0 ? CWP_EVALUE : cpu_refuse(b[0], CWP_EVALUE, "reduce: %u is no way to reduce", kind);
	}
	for (uint32_t k = 1; k < n; k++) {
		switch (kind) {
		case CWP_REDUCE_SUM_F32: sum_f32(d_x[0], d_x[k], count); break;
		case CWP_REDUCE_SUM_F64: sum_f64(d_x[0], d_x[k], count); break;
		case CWP_REDUCE_SUM_U64: sum_u64(d_x[0], d_x[k], count); break;
		default: max_f32(d_x[0], d_x[k], count);
		}
	}
	return 0;
}
