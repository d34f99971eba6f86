/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* GGUF without memory: whichever allocation fails, the file is refused for that reason, and no configuration lacks a key. */
#include "support.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/format/gguf.h"
#include "tests/unit/engine/memory.h"

static const float factors[8] = {1, 2.5f, 0.75f, 3, 4, 5, 6, 7};

static void sizes(struct gguf_build *g, const char *architecture, const char *const *names)
{
	static const uint32_t values[] = {2, 64, 64, 160, 4, 2, 2};

	gguf_text(g, "general.architecture", architecture);
	for (size_t i = 0; names[i]; i++)
		gguf_u32(g, names[i], values[i]);
	gguf_tensor(g, "token_embd.weight", CWE_GGUF_TYPE_F32, 8, 1, factors, sizeof factors);
}

static void mixtral(struct gguf_build *g)
{
	static const char *const names[] = {"llama.block_count", "llama.context_length", "llama.embedding_length",
		"llama.feed_forward_length", "llama.attention.head_count", "llama.expert_count", "llama.expert_used_count", NULL};

	sizes(g, "llama", names);
	gguf_f32(g, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
	gguf_tensor(g, "rope_freqs.weight", CWE_GGUF_TYPE_F32, 8, 0, factors, sizeof factors);
	gguf_stack(g, "blk.0.ffn_up_exps.weight", CWE_GGUF_TYPE_F32, 2, 2, 2, factors, sizeof factors);
}

static void gemma3(struct gguf_build *g)
{
	static const char *const names[] = {"gemma3.block_count", "gemma3.context_length", "gemma3.embedding_length",
		"gemma3.feed_forward_length", "gemma3.attention.head_count", "gemma3.attention.sliding_window", NULL};

	sizes(g, "gemma3", names);
	gguf_f32(g, "gemma3.attention.layer_norm_rms_epsilon", 1e-5f);
	gguf_key(g, "gemma3.attention.sliding_window_pattern", 9);
	blob_u32(&g->values, 7);
	blob_u64(&g->values, 2);
	blob_add(&g->values, "\1\0", 2);
	gguf_tensor(g, "output_norm.weight", CWE_GGUF_TYPE_F32, 8, 0, factors, sizeof factors);
}

static void phi3(struct gguf_build *g)
{
	static const char *const names[] = {"phi3.block_count", "phi3.context_length", "phi3.embedding_length",
		"phi3.feed_forward_length", "phi3.attention.head_count", "phi3.rope.scaling.original_context_length", NULL};

	sizes(g, "phi3", names);
	gguf_f32(g, "phi3.attention.layer_norm_rms_epsilon", 1e-5f);
	gguf_tensor(g, "rope_factors_long.weight", CWE_GGUF_TYPE_F32, 8, 0, factors, sizeof factors);
	gguf_tensor(g, "rope_factors_short.weight", CWE_GGUF_TYPE_F32, 8, 0, factors, sizeof factors);
}

/* Opens a file with everything in it; allocation `number` fails. Returns what memory_left says. */
static long try(const struct blob *b, long number, json_t **ret_config, int *ret_rc, struct cwb_err *err)
{
	int fd = blob_fd(b);
	struct cwe_weights *w = NULL;
	struct cwe_gguf *g = NULL;
	long left;

	*ret_config = NULL;
	memory_fail(number);
	*ret_rc = cwe_gguf_adopt(fd, "test", &g, err);
	if (!*ret_rc)
		*ret_rc = cwe_gguf_config(g, ret_config, err);
	if (!*ret_rc)
		*ret_rc = cwe_gguf_weights_new(g, 0, &w, err);
	left = memory_left();
	memory_fail(-1);
	cwe_weights_close(w);
	cwe_gguf_close(g);
	return left;
}

static void test_each_allocation(void **state)
{
	void (*const models[])(struct gguf_build *g) = {mixtral, gemma3, phi3};

	(void)state;
	json_set_alloc_funcs(malloc, free);
	for (size_t m = 0; m < 3; m++) {
		struct gguf_build build = {0};
		struct blob b = {0};
		struct cwb_err err = {0};
		json_t *want = NULL, *got = NULL;
		long number, left = -1;
		int rc;

		models[m](&build);
		gguf_finish(&build, &b);
		gguf_free(&build);
		try(&b, -1, &want, &rc, &err);
		if (rc)
			print_error("%s\n", err.message);
		assert_int_equal(rc, 0);
		for (number = 0; left < 0; number++) {
			cwb_err_clear(&err);
			left = try(&b, number, &got, &rc, &err);
			if (left < 0 && rc)
				assert_refused(rc, &err, -ENOMEM, "out of memory");
			else
				assert_true(!rc && json_equal(got, want)); /* nothing failed, or what is done without */
			json_decref(got);
		}
		assert_true(number > 60);
		json_decref(want);
		blob_free(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_allocation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
