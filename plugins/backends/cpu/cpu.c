/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The backend "cpu": choice of the instruction set, checks that all operations share. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plugins/backends/cpu/cpu.h"

int cpu_refuse(struct cpu *b, int code, const char *format, ...)
{
	char text[512];
	va_list ap;
	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	b->host->fail(b->host->ctx, text);
	return code;
}

int cpu_check_matrix(struct cpu *b, const char *op, const char *name, const void *p, uint64_t rows,
	uint64_t cols, uint64_t ld)
{
	uint64_t bytes = 0;
	if (rows == 0 || cols == 0) {
		return 0;
	}
	if (!p) {
		return cpu_refuse(b, CWP_EVALUE, "%s: %s is NULL", op, name);
	}
	if (ld < cols) {
		return cpu_refuse(b, CWP_ESHAPE,
			"%s: rows of %s are %llu elements apart but %llu long", op, name,
			(unsigned long long)ld, (unsigned long long)cols);
	}
	if (__builtin_mul_overflow(rows, ld, &bytes) || bytes > PTRDIFF_MAX / sizeof(float)) {
		return cpu_refuse(b, CWP_ESHAPE, "%s: %s [%llu, %llu] is larger than memory can be",
			op, name, (unsigned long long)rows, (unsigned long long)ld);
	}
	return 0;
}

int cpu_check_sequences(struct cpu *b, const char *op, const struct cwp_sequences *s)
{
	if (s->count == 0) {
		return 0;
	}
	if (!s->start || s->start[0] != 0) {
		return cpu_refuse(
			b, CWP_ESHAPE, "%s: the first sequence does not start at token 0", op);
	}
	for (uint64_t i = 0; i < s->count; i++) {
		if (s->start[i + 1] < s->start[i]) {
			return cpu_refuse(b, CWP_ESHAPE,
				"%s: sequence %llu ends at %llu, before its start %llu", op,
				(unsigned long long)i, (unsigned long long)s->start[i + 1],
				(unsigned long long)s->start[i]);
		}
	}
	return 0;
}

void cpu_run(struct cpu *b, size_t n, void (*body)(void *arg, size_t i), void *arg)
{
	if (n == 1) {
		body(arg, 0);
	} else if (n > 1) {
		b->host->parallel_for(b->host->ctx, n, body, arg);
	}
}

/* The tier that the option or, before it, the environment asks for. */
static int choose_tier(
	struct cpu *b, const struct cwp_setting *settings, enum tier *ret_tier, int *ret_forced)
{
	const char *isa = settings ? settings[CPU_OPTION_ISA].string : "auto";
	const char *from = "option isa";
	const char *environment = getenv("CWP_CPU");
	if (environment && environment[0] != '\0') {
		isa = environment;
		from = "CWP_CPU";
	}
	enum tier best = kernels_best();
	if (strcmp(isa, "auto") == 0) {
		*ret_tier = best;
		*ret_forced = 0;
		return 0;
	}
	for (int i = TIER_SCALAR; i <= TIER_AMX; i++) {
		if (strcmp(isa, tier_names[i]) != 0) {
			continue;
		}
		if (i > (int)best) {
			return cpu_refuse(b, CWP_EVALUE,
				"%s: this machine has no %s, its best is %s", from, isa,
				tier_names[best]);
		}
		*ret_tier = (enum tier)i;
		*ret_forced = 1;
		return 0;
	}
	return cpu_refuse(
		b, CWP_EVALUE, "%s: \"%.32s\" is none of auto, scalar, avx2, avx512, avx512bf16, amx", from, isa);
}

static int set_up(struct cpu *b, const struct cwp_setting *settings)
{
	enum tier tier = TIER_SCALAR;
	int forced = 0;
	int rc = choose_tier(b, settings, &tier, &forced);
	if (rc) {
		return rc;
	}
	kernels_fill(&b->k, tier);
	/* Plain C all the way only where it was asked for: it is the reference, not a product
	 * anyone waits for. */
	if (tier != TIER_SCALAR || !forced) {
		rc = onednn_open(b, tier);
		if (rc) {
			return rc;
		}
		b->k.gemm = onednn_gemm;
	}
	b->bf16 = settings && strcmp(settings[CPU_OPTION_PRECISION].string, "bf16") == 0;
	b->panels = b->bf16 ? &b->k.bf16_panels : &b->k.f32;
	snprintf(b->name, sizeof(b->name), "cpu %s%s%s", tier == TIER_SCALAR && !forced ? "generic" : b->k.name,
		b->bf16 ? " " : "", b->bf16 ? b->panels->name : "");
	return 0;
}

static void cpu_close(void *vb)
{
	struct cpu *b = vb;
	if (!b) {
		return;
	}
	cpu_scratch_free(b);
	free(b);
}

static int cpu_open(const struct cwp_host *host, const struct cwp_setting *settings,
	const char *device, void **ret_b)
{
	struct cpu *b = calloc(1, sizeof(*b));
	if (!b) {
		return -ENOMEM;
	}
	b->host = host;
	int rc = 0;
	if (device) {
		rc = cpu_refuse(b, CWP_EVALUE,
			"backend cpu has no device \"%.64s\": leave the device out", device);
		goto fail;
	}
	size_t slots = host->threads ? host->threads : 1;
	b->scratch = calloc(slots, sizeof(*b->scratch));
	if (!b->scratch) {
		rc = -ENOMEM;
		goto fail;
	}
	b->slots = slots;
	rc = set_up(b, settings);
	if (rc) {
		goto fail;
	}
	*ret_b = b;
	return 0;
fail:
	cpu_close(b);
	return rc;
}

static const char *cpu_describe(void *vb)
{
	return ((struct cpu *)vb)->name;
}

const struct cwp_backend cpu_backend = {
	.size = sizeof(struct cwp_backend),
	.flags = CWP_BACKEND_HOST_MEMORY,
	.open = cpu_open,
	.close = cpu_close,
	.describe = cpu_describe,
	.alloc = cpu_alloc,
	.free = cpu_free,
	.upload = cpu_upload,
	.download = cpu_download,
	.zero = cpu_zero,
	.sync = cpu_sync,
	.convert = cpu_convert,
	.matmul = cpu_matmul,
	.add = cpu_add,
	.add_bias = cpu_add_bias,
	.rmsnorm = cpu_rmsnorm,
	.rmsnorm_backward = cpu_rmsnorm_backward,
	.rope = cpu_rope,
	.attention = cpu_attention,
	.attention_backward = cpu_attention_backward,
	.attention_decode = cpu_attention_decode,
	.glu = cpu_glu,
	.glu_backward = cpu_glu_backward,
	.xent_begin = cpu_xent_begin,
	.xent_slice = cpu_xent_slice,
	.xent_backward = cpu_xent_backward,
	.grad_stats = cpu_grad_stats,
	.act_stats = cpu_act_stats,
	.act_histogram = cpu_act_histogram,
	.act_abs = cpu_act_abs,
	.fake_quant = cpu_fake_quant,
	.gather_rows = cpu_gather_rows,
	.scatter_rows = cpu_scatter_rows,
	.dot_rows = cpu_dot_rows,
	.softcap = cpu_softcap,
	.softcap_backward = cpu_softcap_backward,
	.copy = cpu_copy,
	.narrow = cpu_narrow,
	.host_alloc = cpu_alloc,
	.host_free = cpu_free,
	.load_begin = cpu_sync,
	.load = cpu_load,
	.load_wait = cpu_sync,
	.fetch = cpu_copy,
	.fetch_wait = cpu_sync,
	.send = cpu_copy,
	.send_wait = cpu_sync,
	.memory = cpu_memory,
	.overhead = cpu_overhead,
	.reserve = cpu_reserve,
	.rows_alone = cpu_rows_alone,
	.devices = cpu_devices,
	.enter = cpu_sync,
	.reduce = cpu_reduce,
};
