/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Requests as token sequences: rolling windows as lm-evaluation-harness' get_rolling_token_windows has them, contexts that
 * are cut on the left, white space that moves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/text/request.h"
#include "tests/unit/engine/text/mini.h"

#define PREFIX 260 /* <|im_end|>: the end token, where there is no beginning token */

static struct cwe_tokenizer *tokenizer(void)
{
	static const char config[] = "{\"eos_token\": \"<|im_end|>\"}";
	struct cwe_tokenizer *t = NULL;
	struct cwb_err err = {0};
	json_t *json = mini_json();
	char *text = json_dumps(json, 0);
	if (cwe_tokenizer_new(text, strlen(text), config, sizeof config - 1, &t, &err) != 0) {
		fail_msg("%s", err.message);
	}
	free(text);
	json_decref(json);
	return t;
}

/* get_rolling_token_windows(tokens, prefix, max_seq_len, context_len=1), then make_disjoint_window: for each window the
 * tokens that go in with the last that comes out, and how many of them are scored. */
static size_t reference(const uint32_t *token, size_t n, size_t window, uint32_t (*ret)[64], size_t *length, size_t *scored)
{
	size_t count = 0, predicted = n < window ? n : window;
	if (n == 0) {
		return 0;
	}
	ret[0][0] = PREFIX;
	memcpy(ret[0] + 1, token, predicted * sizeof *token);
	length[0] = predicted + 1;
	scored[count++] = predicted;
	while (predicted < n) {
		size_t more = n - predicted < window ? n - predicted : window, end = predicted + more;
		/* token[end - window - 1 : end - 1] goes in; token[end - more : end] comes out. */
		memcpy(ret[count], token + (end - window - 1), (window + 1) * sizeof *token);
		length[count] = window + 1;
		scored[count++] = more;
		predicted += more;
	}
	return count;
}

static void rolling(void **state)
{
	struct cwe_tokenizer *t = tokenizer();
	(void)state;
	for (size_t n = 0; n <= 23; n++) {
		for (size_t window = 1; window <= 12; window++) {
			char text[32] = "";
			uint32_t token[32] = {0}, want[32][64];
			size_t length[32], scored[32];
			struct cwe_request_list list = {0};
			struct cwb_err err = {0};
			for (size_t i = 0; i < n; i++) {
				text[i] = (char)('d' + i % 20); /* no merges */
				token[i] = (unsigned char)text[i];
			}
			size_t count = reference(token, n, window, want, length, scored);
			assert_int_equal(cwe_request_rolling(&list, 5, t, text, n, window, &err), 0);
			assert_int_equal(list.set.count, count);
			for (size_t i = 0; i < count; i++) {
				const struct cwe_sequence *s = list.set.sample[i].sequence;
				assert_int_equal(list.owner[i], 5);
				assert_int_equal(s->count, length[i]);
				assert_memory_equal(s->id, want[i], length[i] * sizeof *s->id);
				for (size_t k = 0; k < s->count; k++) {
					assert_true(s->weight[k] == (k >= length[i] - scored[i] ? 1.0f : 0.0f));
				}
			}
			cwe_request_free(&list);
		}
	}
	cwe_tokenizer_free(t);
}

/* "97 98 | 99": the sequence with a bar before the first token that is scored. */
static const char *only(const struct cwe_request_list *list)
{
	static char text[512];
	size_t at = 0;
	const struct cwe_sequence *s = list->set.sample[0].sequence;
	assert_int_equal(list->set.count, 1);
	for (size_t i = 0, bar = 0; i < s->count; i++) {
		if (s->weight[i] != 0 && !bar) {
			at += (size_t)snprintf(text + at, sizeof text - at, "| ");
			bar = 1;
		}
		at += (size_t)snprintf(text + at, sizeof text - at, "%u%s", s->id[i], i + 1 < s->count ? " " : "");
	}
	return text;
}

static void check_loglik(const char *context, const char *continuation, size_t limit, const char *want)
{
	struct cwe_tokenizer *t = tokenizer();
	struct cwe_request_list list = {0};
	struct cwb_err err = {0};
	if (cwe_request_loglik(&list, 0, t, context, strlen(context), continuation, strlen(continuation), limit, &err) != 0) {
		fail_msg("%s", err.message);
	}
	assert_string_equal(only(&list), want);
	cwe_request_free(&list);
	cwe_tokenizer_free(t);
}

static void loglik(void **state)
{
	(void)state;
	check_loglik("", "de", 100, "260 | 100 101");
	check_loglik("", "<|im_end|>de", 100, "260 | 100 101");
	check_loglik("", "<|im_end|>", 100, "260 | 260");
	check_loglik("de", "fg", 100, "100 101 | 102 103");
	/* White space at the end of the context belongs to the continuation, whatever kind it is. */
	check_loglik("de ", "fg", 100, "100 101 | 32 102 103");
	check_loglik("de\x1f\n", "f", 100, "100 101 | 31 10 102");
	check_loglik("de\xc2\xa0", "f", 100, "100 101 | 194 160 102");
	check_loglik("de\xe3\x80\x80 ", "f", 100, "100 101 | 227 128 128 32 102");
	/* As many tokens as the model sees, and the last one, which it only predicts. */
	check_loglik("defgh", "ij", 6, "100 101 102 103 104 | 105 106");
	check_loglik("", "defgh", 5, "260 | 100 101 102 103 104");
}

static void chat(void **state)
{
	struct cwe_tokenizer *t = tokenizer();
	struct cwe_request_list list = {0};
	struct cwb_err err = {0};
	(void)state;
	/* White space stays where it is. */
	assert_int_equal(cwe_request_chat(&list, 0, t, "de\n", 3, "fg", 2, 4, &err), 0);
	assert_string_equal(only(&list), "100 101 10 | 102 103");
	assert_int_equal(cwe_request_chat(&list, 0, t, "de\n", 3, "fg", 2, 3, &err), CWP_ELIMIT);
	assert_non_null(strstr(err.message, "3 tokens of context and 2 of continuation"));
	assert_int_equal(list.set.count, 1);
	cwe_request_free(&list);
	cwe_tokenizer_free(t);
}

static void windows(void **state)
{
	struct cwe_tokenizer *t = tokenizer();
	struct cwb_err err = {0};
	(void)state;
	for (size_t n = 0; n < 20; n++) {
		for (size_t window = 2; window < 8; window++) {
			struct cwe_request_list list = {0};
			assert_int_equal(cwe_request_windows(&list, 3, t, "defghijklmnopqrstuvw", n, window, &err), 0);
			assert_int_equal(list.set.count, n / window);
			for (size_t i = 0; i < list.set.count; i++) {
				const struct cwe_sequence *s = list.set.sample[i].sequence;
				assert_int_equal(s->count, window);
				for (size_t k = 0; k < window; k++) {
					assert_int_equal(s->id[k], 'd' + i * window + k);
					assert_true(s->weight[k] == (k > 0 ? 1.0f : 0.0f));
				}
			}
			cwe_request_free(&list);
		}
	}
	struct cwe_request_list none = {0};
	assert_int_equal(cwe_request_windows(&none, 3, t, "def", 3, 1, &err), CWP_EVALUE);
	cwe_tokenizer_free(t);
}

static void next(void **state)
{
	struct cwe_tokenizer *t = tokenizer();
	struct cwe_request_list list = {0};
	struct cwb_err err = {0};
	(void)state;
	assert_int_equal(cwe_request_next(&list, 0, t, "def", 3, 3, &err), 0);
	assert_string_equal(only(&list), "100 101 102");
	assert_int_equal(cwe_request_next(&list, 0, t, "def", 3, 2, &err), CWP_ELIMIT);
	assert_int_equal(list.set.count, 1);
	cwe_request_free(&list);
	assert_int_equal(cwe_request_next(&list, 0, t, "", 0, 2, &err), 0);
	assert_string_equal(only(&list), "260");
	cwe_request_free(&list);
	cwe_tokenizer_free(t);
}

static void refused(void **state)
{
	struct cwe_tokenizer *t = tokenizer();
	struct cwe_request_list list = {0};
	struct cwb_err err = {0};
	(void)state;
	assert_int_equal(cwe_request_loglik(&list, 0, t, "d", 1, "efg", 3, 2, &err), CWP_ELIMIT);
	assert_non_null(strstr(err.message, "1 tokens of context and 3 of continuation are more than the model's context of 2"));
	cwb_err_clear(&err);
	/* Nothing is cut. */
	assert_int_equal(cwe_request_loglik(&list, 0, t, "defgh", 5, "ij", 2, 5, &err), CWP_ELIMIT);
	cwb_err_clear(&err);
	assert_int_equal(cwe_request_loglik(&list, 0, t, "d", 1, "", 0, 9, &err), CWP_EVALUE);
	cwb_err_clear(&err);
	assert_int_equal(cwe_request_loglik(&list, 0, t, "", 0, "", 0, 9, &err), CWP_EVALUE);
	cwb_err_clear(&err);
	assert_int_equal(cwe_request_loglik(&list, 0, t, "  ", 2, "d", 1, 9, &err), CWP_EVALUE);
	assert_int_equal(list.set.count, 0);
	cwe_request_free(&list);
	cwe_tokenizer_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(rolling), cmocka_unit_test(loglik), cmocka_unit_test(chat),
		cmocka_unit_test(windows), cmocka_unit_test(next), cmocka_unit_test(refused)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
