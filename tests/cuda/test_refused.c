/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What a backend refuses: the calls that the CPU backend refuses, with the same codes and a text that names the operation;
 * what it takes that is empty; and that a refused call leaves no trace. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <cwp/plugin.h>
#include <cwp/quantizer.h>

#include "tests/cuda/pair.h"

enum { FLOATS = 64 };

static float *x;        /* device memory of FLOATS numbers, all 2 */
static uint32_t *tokens; /* the same memory under other types */
static double *sums;

static void refused(int rc, int code, const char *op)
{
	pair_refused(op, rc, code, op);
}

static int set_up(void **state)
{
	(void)state;
	float two[FLOATS];
	for (int i = 0; i < FLOATS; i++) {
		two[i] = 2.0F;
	}
	x = pair.ops->alloc(pair.b, sizeof(two));
	tokens = (void *)x;
	sums = (void *)x;
	return x ? pair.ops->upload(pair.b, x, two, sizeof(two)) : -1;
}

static int tear_down(void **state)
{
	(void)state;
	float now[FLOATS];
	int rc = pair.ops->sync(pair.b);
	rc = rc ? rc : pair.ops->download(pair.b, now, x, sizeof(now));
	for (int i = 0; !rc && i < FLOATS; i++) {
		rc = now[i] == 2.0F ? 0 : -1;
	}
	pair.ops->free(pair.b, x);
	return rc;
}

static void test_matrices(void **state)
{
	(void)state;
	const struct cwp_backend *be = pair.ops;
	void *b = pair.b;
	const uint64_t huge = UINT64_MAX / 4;
	refused(be->matmul(b, 0, 0, 4, 4, 4, x, 3, x, 4, 0, x, 4), CWP_ESHAPE, "matmul");
	refused(be->matmul(b, 1, 0, 4, 4, 4, x, 4, x, 3, 0, x, 4), CWP_ESHAPE, "matmul");
	refused(be->matmul(b, 0, 0, 4, 4, 4, x, 4, x, 4, 0, x, 3), CWP_ESHAPE, "matmul");
	refused(be->matmul(b, 0, 0, 4, 4, 4, NULL, 4, x, 4, 0, x, 4), CWP_EVALUE, "matmul");
	refused(be->matmul(b, 0, 0, huge, 4, 4, x, 4, x, 4, 0, x, 4), CWP_ESHAPE, "matmul");
	refused(be->add(b, x, NULL, 4), CWP_EVALUE, "add");
	refused(be->add_bias(b, x, NULL, 4, 4), CWP_EVALUE, "add_bias");
	refused(be->convert(b, x, x, 4, 4), CWP_EVALUE, "convert");
	refused(be->convert(b, NULL, x, CWP_F32, 4), CWP_EVALUE, "convert");
	refused(be->narrow(b, x, 9, x, 4), CWP_EVALUE, "narrow");
	refused(be->narrow(b, NULL, CWP_BF16, x, 4), CWP_EVALUE, "narrow");
	refused(be->rmsnorm(b, x, NULL, 0.0F, 1.0F, 2, 2, x, x), CWP_EVALUE, "rmsnorm");
	refused(be->rmsnorm(b, x, x, 0.0F, 1.0F, 2, 2, x, NULL), CWP_EVALUE, "rmsnorm");
	refused(be->rope(b, x, 1, 8, 1, 8, 3, x, x, tokens, 0), CWP_ESHAPE, "rope");
	refused(be->rope(b, x, 1, 8, 1, 8, 10, x, x, tokens, 0), CWP_ESHAPE, "rope");
	refused(be->rope(b, x, 1, 8, 1, 8, 8, x, x, NULL, 0), CWP_EVALUE, "rope");
	refused(be->rope(b, x, 2, 7, 1, 8, 8, x, x, tokens, 0), CWP_ESHAPE, "rope");
	refused(be->glu(b, 7, x, x, 4, x), CWP_EVALUE, "glu");
	refused(be->glu_backward(b, CWP_GLU_SILU, x, x, NULL, 4, x, x), CWP_EVALUE, "glu_backward");
	refused(be->softcap(b, x, 4, 0.0F), CWP_EVALUE, "softcap");
	refused(be->softcap_backward(b, x, NULL, 4, 1.0F), CWP_EVALUE, "softcap_backward");
	refused(be->gather_rows(b, NULL, NULL, NULL, 2, 4, x), CWP_EVALUE, "gather_rows");
	refused(be->scatter_rows(b, x, NULL, NULL, 2, 4, NULL), CWP_EVALUE, "scatter_rows");
	refused(be->dot_rows(b, x, NULL, 2, 4, x), CWP_EVALUE, "dot_rows");
	refused(be->act_stats(b, x, 4, 4, 2, NULL, NULL, x), CWP_ESHAPE, "act_stats");
	refused(be->act_abs(b, x, 4, 4, 2, NULL), CWP_ESHAPE, "act_abs");
	refused(be->act_histogram(b, x, 4, 4, 4, NULL), CWP_EVALUE, "act_histogram");
	refused(be->xent_begin(b, 1, x, NULL, x, x, tokens), CWP_EVALUE, "xent_begin");
	refused(be->xent_slice(b, x, 1, 4, 4, 0, NULL, x, NULL, x, x, NULL), CWP_EVALUE, "xent_slice");
	refused(be->xent_slice(b, x, 1, 4, 4, UINT32_MAX, tokens, x, NULL, x, x, NULL), CWP_ESHAPE, "xent_slice");
	refused(be->xent_slice(b, x, 1, 4, 4, 0, tokens, x, NULL, x, x, NULL), CWP_EVALUE, "xent_slice");
	refused(be->xent_slice(b, x, 2, 3, 4, 0, tokens, x, sums, x, x, tokens), CWP_ESHAPE, "xent_slice");
	refused(be->xent_backward(b, x, 1, 4, 4, 0, tokens, NULL, sums), CWP_EVALUE, "xent_backward");
	refused(be->xent_backward(b, x, 1, 4, 4, 0, tokens, x, NULL), CWP_EVALUE, "xent_backward");
}

static void test_activations(void **state)
{
	(void)state;
	static const uint64_t start[] = {0, 1}, late[] = {1, 2};
	static const struct {
		struct cwp_activation a;
		int code;
	} list[] = {{{.kind = CWP_ACT_NONE}, CWP_EVALUE}, {{.kind = CWP_ACT_INT8_OUTLIER + 1}, CWP_EVALUE},
		{{.kind = CWP_ACT_FP8_GROUP, .group = 3}, CWP_ESHAPE}, {{.kind = CWP_ACT_FP8_GROUP}, CWP_ESHAPE},
		{{.kind = CWP_ACT_INT8_TENSOR}, CWP_EVALUE}, {{.kind = CWP_ACT_FP8_TENSOR, .scale = INFINITY}, CWP_EVALUE},
		{{.kind = CWP_ACT_INT8_TENSOR, .scale = 1.0F, .zero = 128}, CWP_EVALUE},
		{{.kind = CWP_ACT_FP8_TENSOR, .scale = 1.0F, .zero = 1}, CWP_EVALUE},
		{{.kind = CWP_ACT_INT8_OUTLIER, .sequences = {1, start}}, CWP_ESHAPE},
		{{.kind = CWP_ACT_INT8_OUTLIER, .sequences = {1, late}}, CWP_ESHAPE}, {{.kind = CWP_ACT_INT8_OUTLIER}, CWP_EVALUE},
		{{.kind = CWP_ACT_INT8_TOKEN}, CWP_EVALUE}};
	for (size_t i = 0; i < sizeof(list) / sizeof(*list); i++) {
		struct cwp_activation a = list[i].a;
		a.size = sizeof(a);
		refused(pair.ops->fake_quant(pair.b, &a, a.kind == CWP_ACT_INT8_TOKEN ? NULL : x, 2, 4, x), list[i].code, "fake_quant");
	}
}

static void test_attention(void **state)
{
	(void)state;
	static const uint64_t late[] = {1, 2}, good[] = {0, 2, 4};
	const struct cwp_backend *be = pair.ops;
	void *b = pair.b;
	struct cwp_attention a = {.size = sizeof(a), .heads = 4, .kv_heads = 3, .head_dim = 2, .scale = 1.0F, .sequences = {2, good}};
	refused(be->attention(b, &a, x, x, x, x, x), CWP_ESHAPE, "attention");
	a.kv_heads = 2;
	a.softcap = -1.0F;
	refused(be->attention(b, &a, x, x, x, x, x), CWP_EVALUE, "attention");
	a.softcap = 0.0F;
	a.scale = NAN;
	refused(be->attention_backward(b, &a, x, x, x, x, x, x, x, x, x), CWP_EVALUE, "attention_backward");
	refused(be->attention_decode(b, &a, x, x, x, 1, x), CWP_EVALUE, "attention_decode");
	a.scale = 1.0F;
	a.flags = 1;
	refused(be->attention(b, &a, x, x, x, x, x), CWP_EVALUE, "attention");
	a.flags = 0;
	refused(be->attention(b, &a, x, x, NULL, x, x), CWP_EVALUE, "attention");
	refused(be->attention_backward(b, &a, x, x, x, x, x, x, x, x, NULL), CWP_EVALUE, "attention_backward");
	refused(be->attention_decode(b, &a, x, x, x, 0, x), CWP_EVALUE, "attention_decode");
	static const uint64_t range[] = {0, 0, 1}, descending[] = {0, 1, 0}, first[] = {1}, one[] = {1}, two[] = {2};
	struct cwp_prefixes p = {range, first, one};
	a.prefixes = &p;
	refused(be->attention_backward(b, &a, x, x, x, x, x, x, x, x, x), CWP_EVALUE, "attention_backward");
	p.count = two; /* rows 1 and 2 before a sequence that begins at row 2 */
	refused(be->attention(b, &a, x, x, x, x, x), CWP_EVALUE, "attention");
	p.range = descending;
	refused(be->attention(b, &a, x, x, x, x, x), CWP_EVALUE, "attention");
	a.prefixes = NULL;
	a.sequences = (struct cwp_sequences){1, late};
	refused(be->attention(b, &a, x, x, x, x, x), CWP_ESHAPE, "attention");
}

static void test_samples(void **state)
{
	(void)state;
	static const uint64_t falling[] = {0, 5, 4}, good[] = {0, 2, 4};
	struct cwp_grad_stats s = {.size = sizeof(s), .rows = 2, .cols = 2, .samples = {2, falling}, .d_x = x, .ldx = 2, .d_dy = x, .lddy = 2};
	refused(pair.ops->grad_stats(pair.b, &s), CWP_ESHAPE, "grad_stats");
	s.samples = (struct cwp_sequences){2, good};
	s.lddy = 1;
	refused(pair.ops->grad_stats(pair.b, &s), CWP_ESHAPE, "grad_stats");
	s.lddy = 2;
	s.d_x = NULL;
	refused(pair.ops->grad_stats(pair.b, &s), CWP_EVALUE, "grad_stats");
	s.size = 8;
	refused(pair.ops->grad_stats(pair.b, &s), CWP_EVALUE, "grad_stats");
	refused(pair.ops->rmsnorm_backward(pair.b, x, x, x, 0.0F, x, 3, 2, 0, x, &s.samples, x), CWP_ESHAPE, "rmsnorm_backward");
	refused(pair.ops->rmsnorm_backward(pair.b, x, x, x, 0.0F, x, 3, 2, 0, x, NULL, x), CWP_EVALUE, "rmsnorm_backward");
}

static void test_empty(void **state)
{
	(void)state;
	static const uint64_t none[] = {0, 0};
	const struct cwp_backend *be = pair.ops;
	void *b = pair.b;
	struct cwp_attention a = {.size = sizeof(a), .heads = 2, .kv_heads = 2, .head_dim = 2, .scale = 1.0F, .sequences = {1, none}};
	struct cwp_grad_stats s = {.size = sizeof(s)};
	const struct cwp_activation token = {.size = sizeof(token), .kind = CWP_ACT_INT8_TOKEN};
	assert_int_equal(be->matmul(b, 0, 0, 0, 4, 4, NULL, 4, x, 4, 0, NULL, 4), 0);
	assert_int_equal(be->attention(b, &a, NULL, NULL, NULL, NULL, NULL), 0);
	assert_int_equal(be->attention_backward(b, &a, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL), 0);
	assert_int_equal(be->grad_stats(b, &s), 0);
	assert_int_equal(be->add(b, NULL, NULL, 0), 0);
	assert_int_equal(be->add_bias(b, NULL, NULL, 0, 4), 0);
	assert_int_equal(be->glu(b, CWP_GLU_SILU, NULL, NULL, 0, NULL), 0);
	assert_int_equal(be->glu_backward(b, CWP_GLU_SILU, NULL, NULL, NULL, 0, NULL, NULL), 0);
	assert_int_equal(be->softcap(b, NULL, 0, 1.0F), 0);
	assert_int_equal(be->rmsnorm(b, NULL, NULL, 0.0F, 1.0F, 0, 4, NULL, NULL), 0);
	assert_int_equal(be->rope(b, NULL, 0, 8, 1, 8, 8, NULL, NULL, NULL, 0), 0);
	assert_int_equal(be->convert(b, NULL, NULL, CWP_BF16, 0), 0);
	assert_int_equal(be->narrow(b, NULL, CWP_BF16, NULL, 0), 0);
	assert_int_equal(be->act_stats(b, NULL, 0, 4, 4, NULL, NULL, NULL), 0);
	assert_int_equal(be->act_abs(b, NULL, 0, 4, 4, NULL), 0);
	assert_int_equal(be->xent_begin(b, 0, NULL, NULL, NULL, NULL, NULL), 0);
	assert_int_equal(be->gather_rows(b, NULL, NULL, NULL, 0, 4, NULL), 0);
	assert_int_equal(be->fake_quant(b, &token, NULL, 0, 4, NULL), 0);
	assert_int_equal(be->upload(b, NULL, NULL, 0), 0);
	assert_int_equal(be->download(b, NULL, NULL, 0), 0);
	assert_int_equal(be->zero(b, NULL, 0), 0);
	assert_int_equal(be->copy(b, NULL, NULL, 0), 0);
}

/* No function is left out, and a device that is not there is refused by its name. */
static void test_table(void **state)
{
	(void)state;
	void *functions[(sizeof(*pair.ops) - offsetof(struct cwp_backend, open)) / sizeof(void *)], *b = NULL;
	const size_t all = sizeof(functions) / sizeof(functions[0]), must = all - 3;
	memcpy(functions, &pair.ops->open, sizeof(functions));
	for (size_t f = 0; f < must; f++) {
		assert_non_null(functions[f]);
	}
	/* GPTQ may be left to the host, but not in part. */
	for (size_t f = must; f < all; f++) {
		assert_true((functions[f] != NULL) == (functions[must] != NULL));
	}
	assert_int_equal(pair.ops->size, sizeof(struct cwp_backend));
	struct cwp_setting first = {.size = sizeof(first), .type = CWP_OPTION_ENUM, .string = pair.ops->flags & CWP_BACKEND_HOST_MEMORY ? "auto" : "f32"};
	refused(pair.ops->open(&pair.host.table, &first, "GPU-00000000-0000-0000-0000-000000000000", &b),
		pair.ops->flags & CWP_BACKEND_HOST_MEMORY ? CWP_EVALUE : CWP_EMISSING, "device");
	assert_null(b);
	pair.ops->close(NULL);
	/* Those that there are come by number, each once; the list ends. */
	struct cwp_backend_device device = {.size = sizeof(device)};
	uint32_t count = 0;
	int rc = 0;
	while (count < 64 && (rc = pair.ops->devices(&pair.host.table, count, &device)) == 0) {
		assert_true(device.uuid[0] && device.name[0] && device.total > 0);
		count++;
	}
	assert_int_equal(rc, CWP_EMISSING);
	assert_true(count > 0 || pair.ops->flags & CWP_BACKEND_HOST_MEMORY);
}

static int group(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_matrices),
		cmocka_unit_test(test_activations),
		cmocka_unit_test(test_attention),
		cmocka_unit_test(test_samples),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_table),
	};
	return cmocka_run_group_tests_name("refused", tests, set_up, tear_down);
}

int main(void)
{
	return pair_main(group, 1);
}
