/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What the CPU backend refuses, and how it says so; what it takes that is empty. */
#include <dlfcn.h>
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <cwp/plugin.h>
#include <cwp/quantizer.h>

#include "tests/kernels/support.h"

static const struct cwp_backend *const be = &cpu_backend;
static float x[64];
static uint32_t tokens[4];
static double sums[4];
static struct test_host host;

/* The code is `code`, and the host was told a text that has `word` in it. */
static void refused(int rc, int code, const char *word)
{
	if (rc != code || !strstr(host.failure, word)) {
		fail_msg("code %d, text \"%s\": want %d and \"%s\"", rc, host.failure, code, word);
	}
	host.failure[0] = '\0';
}

static void test_open_refusals(void **state)
{
	(void)state;
	void *b = NULL;
	struct cwp_setting s[CPU_OPTIONS] = {{.size = sizeof(s[0]), .type = CWP_OPTION_ENUM, .string = "sse2"},
		{.size = sizeof(s[0]), .type = CWP_OPTION_ENUM, .string = "f32"}};
	const char *forced = getenv("CWP_CPU");
	char *keep = forced ? strdup(forced) : NULL;
	unsetenv("CWP_CPU");
	test_host_init(&host, 2);
	refused(be->open(&host.table, s, NULL, &b), CWP_EVALUE, "option isa");
	if (kernels_best() < TIER_AMX) {
		s[CPU_OPTION_ISA].string = tier_names[kernels_best() + 1];
		refused(be->open(&host.table, s, NULL, &b), CWP_EVALUE, "this machine has no");
	}
	s[CPU_OPTION_ISA].string = "scalar";
	refused(be->open(&host.table, s, "GPU-1", &b), CWP_EVALUE, "GPU-1");
	assert_null(b);
	assert_int_equal(be->open(&host.table, s, NULL, &b), 0);
	assert_string_equal(be->describe(b), "cpu scalar");
	be->close(b);
	s[CPU_OPTION_PRECISION].string = "bf16";
	assert_int_equal(be->open(&host.table, s, NULL, &b), 0);
	assert_string_equal(be->describe(b), "cpu scalar bf16 emulated");
	be->close(b);
	be->close(NULL);
	setenv("CWP_CPU", "mmx", 1);
	refused(be->open(&host.table, s, NULL, &b), CWP_EVALUE, "CWP_CPU");
	unsetenv("CWP_CPU");
	if (keep) {
		setenv("CWP_CPU", keep, 1);
	}
	free(keep);
}

static void test_memory(void **state)
{
	(void)state;
	void *b = test_open(&host, 1);
	float back[64];
	assert_null(be->alloc(b, SIZE_MAX));
	assert_null(be->alloc(b, SIZE_MAX / 2));
	void *p = be->alloc(b, 1), *q = be->alloc(b, 0), *r = be->alloc(b, (size_t)5 << 20);
	assert_true(p && q && r);
	assert_int_equal((uintptr_t)p % 64 + (uintptr_t)q % 64 + (uintptr_t)r % 64, 0);
	x[3] = 4.0F;
	assert_int_equal(be->upload(b, r, x, sizeof(x)), 0);
	assert_int_equal(be->download(b, back, r, sizeof(back)), 0);
	assert_memory_equal(x, back, sizeof(x));
	assert_int_equal(be->zero(b, r, sizeof(x)), 0);
	assert_int_equal(be->download(b, back, r, sizeof(back)), 0);
	assert_true(back[3] == 0.0F);
	assert_int_equal(be->sync(b), 0);
	be->free(b, p);
	be->free(b, q);
	be->free(b, r);
	be->free(b, NULL);
	be->close(b);
	struct cwp_backend_device device = {.size = sizeof(device)};
	assert_int_equal(be->devices(&host.table, 0, &device), CWP_EMISSING);
}

static void refuse_activations(void *b, float *at)
{
	const uint64_t start[] = {0, 1}, late[] = {1, 2};
	const struct {
		struct cwp_activation a;
		int code;
		const char *text;
	} list[] = {{{.kind = CWP_ACT_NONE}, CWP_EVALUE, "scheme 0"},
		{{.kind = CWP_ACT_INT8_OUTLIER + 1}, CWP_EVALUE, "scheme 7"},
		{{.kind = CWP_ACT_FP8_GROUP, .group = 3}, CWP_ESHAPE, "groups of 3"},
		{{.kind = CWP_ACT_FP8_GROUP}, CWP_ESHAPE, "groups of 0"},
		{{.kind = CWP_ACT_INT8_TENSOR}, CWP_EVALUE, "scale 0"},
		{{.kind = CWP_ACT_FP8_TENSOR, .scale = INFINITY}, CWP_EVALUE, "scale inf"},
		{{.kind = CWP_ACT_INT8_TENSOR, .scale = 1.0F, .zero = 128}, CWP_EVALUE, "zero point 128"},
		{{.kind = CWP_ACT_FP8_TENSOR, .scale = 1.0F, .zero = 1}, CWP_EVALUE, "zero point 1"},
		{{.kind = CWP_ACT_INT8_OUTLIER, .sequences = {1, start}}, CWP_ESHAPE, "1 rows and x has 2"},
		{{.kind = CWP_ACT_INT8_OUTLIER, .sequences = {1, late}}, CWP_ESHAPE, "token 0"},
		{{.kind = CWP_ACT_INT8_OUTLIER}, CWP_EVALUE, "may not be x"},
		{{.kind = CWP_ACT_INT8_TOKEN}, CWP_EVALUE, "x is NULL"}};
	for (size_t i = 0; i < sizeof(list) / sizeof(*list); i++) {
		int null = list[i].a.kind == CWP_ACT_INT8_TOKEN;
		refused(be->fake_quant(b, &list[i].a, null ? NULL : at, 2, 4, at), list[i].code, list[i].text);
	}
}

static void test_matrices(void **state)
{
	(void)state;
	const uint64_t huge = UINT64_MAX / 4;
	void *b = test_open(&host, 1);
	refused(be->matmul(b, 0, 0, 4, 4, 4, x, 3, x, 4, 0, x, 4), CWP_ESHAPE, "A are 3");
	refused(be->matmul(b, 1, 0, 4, 4, 4, x, 4, x, 3, 0, x, 4), CWP_ESHAPE, "rows of B");
	refused(be->matmul(b, 0, 0, 4, 4, 4, x, 4, x, 4, 0, x, 3), CWP_ESHAPE, "rows of C");
	refused(be->matmul(b, 0, 0, 4, 4, 4, NULL, 4, x, 4, 0, x, 4), CWP_EVALUE, "A is NULL");
	refused(be->matmul(b, 0, 0, huge, 4, 4, x, 4, x, 4, 0, x, 4), CWP_ESHAPE,
		"larger than memory");
	refused(be->add(b, x, NULL, 4), CWP_EVALUE, "x is NULL");
	refused(be->add_bias(b, x, NULL, 4, 4), CWP_EVALUE, "bias is NULL");
	refused(be->convert(b, x, x, 4, 4), CWP_EVALUE, "type 4");
	refused(be->convert(b, NULL, x, CWP_F32, 4), CWP_EVALUE, "target is NULL");
	refused(be->rmsnorm(b, x, NULL, 0.0F, 1.0F, 2, 2, x, x), CWP_EVALUE, "w is NULL");
	refused(be->rope(b, x, 1, 8, 1, 8, 3, x, x, tokens, 0), CWP_ESHAPE, "3 rotary");
	refused(be->rope(b, x, 1, 8, 1, 8, 10, x, x, tokens, 0), CWP_ESHAPE, "head's 8");
	refused(be->rope(b, x, 1, 8, 1, 8, 8, x, x, NULL, 0), CWP_EVALUE, "positions");
	refused(be->glu(b, 7, x, x, 4, x), CWP_EVALUE, "activation 7");
	refused(be->glu_backward(b, CWP_GLU_SILU, x, x, NULL, 4, x, x), CWP_EVALUE, "dh is NULL");
	refused(be->act_stats(b, x, 4, 4, 2, NULL, NULL, x), CWP_ESHAPE, "act_stats");
	refused(be->act_abs(b, x, 4, 4, 2, NULL), CWP_ESHAPE, "act_abs");
	refuse_activations(b, x);
	refused(be->xent_begin(b, 1, x, NULL, x, x, tokens), CWP_EVALUE, "xent_begin");
	refused(be->xent_slice(b, x, 1, 4, 4, 0, NULL, x, NULL, x, x, NULL), CWP_EVALUE, "targets");
	refused(be->xent_slice(b, x, 1, 4, 4, UINT32_MAX, tokens, x, NULL, x, x, NULL), CWP_ESHAPE,
		"32 bits");
	refused(be->xent_backward(b, x, 1, 4, 4, 0, tokens, NULL, sums), CWP_EVALUE, "weight");
	be->close(b);
}

static void test_sequences(void **state)
{
	(void)state;
	static const uint64_t late[] = {1, 2}, falling[] = {0, 5, 4}, good[] = {0, 2, 4};
	void *b = test_open(&host, 1);
	struct cwp_attention a = {.size = sizeof(a),
		.heads = 4,
		.kv_heads = 3,
		.head_dim = 2,
		.scale = 1.0F,
		.sequences = {2, good}};
	refused(be->attention(b, &a, x, x, x, x, x), CWP_ESHAPE, "4 heads");
	a.kv_heads = 2;
	a.softcap = -1.0F;
	refused(be->attention(b, &a, x, x, x, x, x), CWP_EVALUE, "softcap");
	a.softcap = 0.0F;
	a.scale = NAN;
	refused(be->attention_backward(b, &a, x, x, x, x, x, x, x, x, x), CWP_EVALUE, "scale");
	a.scale = 1.0F;
	a.flags = 1;
	refused(be->attention(b, &a, x, x, x, x, x), CWP_EVALUE, "flags");
	a.flags = 0;
	refused(be->attention(b, &a, x, x, NULL, x, x), CWP_EVALUE, "NULL");
	refused(be->attention_backward(b, &a, x, x, x, x, x, x, x, x, NULL), CWP_EVALUE, "NULL");
	refused(be->attention_decode(b, &a, x, x, x, 0, x), CWP_EVALUE, "empty");
	static const uint64_t range[] = {0, 0, 1}, descending[] = {0, 1, 0}, first[] = {1}, one[] = {1}, two[] = {2};
	struct cwp_prefixes p = {range, first, one};
	a.prefixes = &p;
	refused(be->attention_backward(b, &a, x, x, x, x, x, x, x, x, x), CWP_EVALUE, "forward direction");
	p.count = two; /* rows 1 and 2 before a sequence that begins at row 2 */
	refused(be->attention(b, &a, x, x, x, x, x), CWP_EVALUE, "before the sequence");
	p.range = descending;
	refused(be->attention(b, &a, x, x, x, x, x), CWP_EVALUE, "");
	a.prefixes = NULL;
	a.sequences = (struct cwp_sequences){1, late};
	refused(be->attention(b, &a, x, x, x, x, x), CWP_ESHAPE, "token 0");
	struct cwp_grad_stats s = {.size = sizeof(s),
		.rows = 2,
		.cols = 2,
		.samples = {2, falling},
		.d_x = x,
		.ldx = 2,
		.d_dy = x,
		.lddy = 2};
	refused(be->grad_stats(b, &s), CWP_ESHAPE, "sequence 1 ends at 4");
	s.samples = (struct cwp_sequences){2, good};
	s.lddy = 1;
	refused(be->grad_stats(b, &s), CWP_ESHAPE, "dY");
	s.lddy = 2;
	s.d_x = NULL;
	refused(be->grad_stats(b, &s), CWP_EVALUE, "X is NULL");
	s.size = 8;
	refused(be->grad_stats(b, &s), CWP_EVALUE, "size");
	refused(be->rmsnorm_backward(b, x, x, x, 0.0F, x, 3, 2, 0, x, &s.samples, x), CWP_ESHAPE,
		"4 tokens");
	be->close(b);
}

static void test_empty(void **state)
{
	(void)state;
	static const uint64_t none[] = {0, 0};
	void *b = test_open(&host, 1);
	struct cwp_attention a = {.size = sizeof(a),
		.heads = 2,
		.kv_heads = 2,
		.head_dim = 2,
		.scale = 1.0F,
		.sequences = {1, none}};
	struct cwp_grad_stats s = {.size = sizeof(s)};
	assert_int_equal(be->matmul(b, 0, 0, 0, 4, 4, NULL, 4, x, 4, 0, NULL, 4), 0);
	assert_int_equal(be->attention(b, &a, NULL, NULL, NULL, NULL, NULL), 0);
	assert_int_equal(be->grad_stats(b, &s), 0);
	assert_int_equal(be->add(b, NULL, NULL, 0), 0);
	assert_int_equal(be->add_bias(b, NULL, NULL, 0, 4), 0);
	assert_int_equal(be->glu(b, CWP_GLU_SILU, NULL, NULL, 0, NULL), 0);
	assert_int_equal(be->rmsnorm(b, NULL, NULL, 0.0F, 1.0F, 0, 4, NULL, NULL), 0);
	assert_int_equal(be->convert(b, NULL, NULL, CWP_BF16, 0), 0);
	assert_int_equal(be->act_stats(b, NULL, 0, 4, 4, NULL, NULL, NULL), 0);
	assert_int_equal(be->act_abs(b, NULL, 0, 4, 4, NULL), 0);
	const struct cwp_activation token = {.size = sizeof(token), .kind = CWP_ACT_INT8_TOKEN};
	assert_int_equal(be->fake_quant(b, &token, NULL, 0, 4, NULL), 0);
	be->close(b);
}

/* The file itself: its symbol, its table, no function left out but those of GPTQ, which the host computes beside the CPU. */
static void test_plugin(void **state)
{
	(void)state;
	const char *dir = getenv("CWP_PLUGIN_DIR");
	char path[4096];
	if (!dir) {
		skip();
	}
	snprintf(path, sizeof(path), "%s/cpu.so", dir);
	void *so = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!so) {
		fail_msg("%s", dlerror());
	}
	const struct cwp_plugin *p = dlsym(so, CWP_PLUGIN_SYMBOL);
	assert_non_null(p);
	assert_int_equal(p->kind, CWP_KIND_BACKEND);
	assert_string_equal(p->id, "cpu");
	assert_null(p->get_interface("cwp.scorer/1.draft"));
	const struct cwp_backend *i = p->get_interface(CWP_BACKEND_INTERFACE);
	void *functions[(offsetof(struct cwp_backend, gptq_factor) - offsetof(struct cwp_backend, open)) / sizeof(void *)];
	assert_non_null(i);
	assert_true(i->gptq_factor == NULL && i->gptq_round == NULL && i->gptq_work == NULL);
	memcpy(functions, &i->open, sizeof(functions));
	for (size_t f = 0; f < sizeof(functions) / sizeof(functions[0]); f++) {
		assert_non_null(functions[f]);
	}
	assert_null(dlsym(so, "cpu_backend"));
	dlclose(so);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open_refusals),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_matrices),
		cmocka_unit_test(test_sequences),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_plugin),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
