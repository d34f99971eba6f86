/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The only file that knows oneDNN (2.x and 3.x). Its single-precision product is called for one
 * tile on one thread: the tiles are ours, so that their number never follows the number of threads.
 */
#include <errno.h>

#include <oneapi/dnnl/dnnl.h>

#include "plugins/backends/cpu/cpu.h"

#ifdef DNNL_RUNTIME_OMP
#define RUNTIME_OMP DNNL_RUNTIME_OMP
#define RUNTIME_SEQ DNNL_RUNTIME_SEQ
#else
#error "this oneDNN does not say which threads it uses"
#endif

/* Of OpenMP, whose header only the compiler has that brought the library. */
void omp_set_num_threads(int num_threads);

int onednn_open(struct cpu *b, enum tier tier)
{
	const dnnl_version_t *v = dnnl_version();
	if (v->cpu_runtime != RUNTIME_OMP && v->cpu_runtime != RUNTIME_SEQ) {
		return cpu_refuse(b, CWP_EMISSING,
			"oneDNN %d.%d.%d was built with threads that cannot be held to one a call: "
			"install a build with OpenMP",
			v->major, v->minor, v->patch);
	}
#if defined(__x86_64__)
	if (tier == TIER_AVX2) {
		/* Works only before the first product of the process; what counts is what is in
		 * force afterwards. */
		(void)dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx2);
		if (dnnl_get_effective_cpu_isa() != dnnl_cpu_isa_avx2) {
			return cpu_refuse(b, CWP_ESTATE,
				"option isa avx2: oneDNN already runs another instruction set in "
				"this process: open the backend first");
		}
	}
#else
	(void)tier;
#endif
	return 0;
}

int onednn_gemm(const struct gemm *g)
{
	/* A setting of the calling thread alone. */
	omp_set_num_threads(1);
	dnnl_status_t status =
		dnnl_sgemm(g->trans_a ? 'T' : 'N', g->trans_b ? 'T' : 'N', (dnnl_dim_t)g->m,
			(dnnl_dim_t)g->n, (dnnl_dim_t)g->k, 1.0F, g->a, (dnnl_dim_t)g->lda, g->b,
			(dnnl_dim_t)g->ldb, g->accumulate ? 1.0F : 0.0F, g->c, (dnnl_dim_t)g->ldc);
	if (status == dnnl_out_of_memory) {
		return -ENOMEM;
	}
	return status == dnnl_success ? 0 : CWP_EPLUGIN;
}
