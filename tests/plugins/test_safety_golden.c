/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Evaluators on reference answers: metrics of refusal log-odds and perplexity are those of the reference, articles of WikiText
 * are lm-evaluation-harness' byte for byte, and the English phrases tell published refusals from answers. */
#include "tests/plugins/evaluator_sink.h"

#include <jansson.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/file.h"
#include "plugins/evaluators/common/safe_degenerate.h"
#include "plugins/evaluators/common/safe_phrases.h"

static const char *shared;
static struct cwe_host host;
static struct kept kept;

static char *path_of(const char *name)
{
	char *path = NULL;
	assert_true(asprintf(&path, "%s/%s", shared, name) > 0);
	return path;
}

static char *read_file(const char *name, size_t *ret_length)
{
	struct cwb_err err = {0};
	char *path = path_of(name), *text = NULL;
	if (cwb_file_read(path, 1 << 24, &text, ret_length, &err) != 0) {
		fail_msg("%s", err.message);
	}
	free(path);
	return text;
}

/* The lines of a JSON lines file as an array. */
static json_t *read_lines(const char *name)
{
	size_t length;
	char *text = read_file(name, &length);
	json_t *array = json_array();
	for (char *line = text, *next; line < text + length; line = next) {
		char *end = memchr(line, '\n', (size_t)(text + length - line));
		next = end != NULL ? end + 1 : text + length;
		json_t *row = json_loadb(line, (size_t)(next - line), 0, NULL);
		assert_non_null(row);
		json_array_append_new(array, row);
	}
	free(text);
	return array;
}

static const json_t *row_of(const json_t *rows, const char *id)
{
	size_t i;
	json_t *row;
	json_array_foreach(rows, i, row) {
		if (strcmp(json_string_value(json_object_get(row, "id")), id) == 0) {
			return row;
		}
	}
	fail_msg("no row %s", id);
	return NULL;
}

static double number(const json_t *row, const char *key)
{
	assert_true(json_is_number(json_object_get(row, key)));
	return json_number_value(json_object_get(row, key));
}

static double reference(const char *file, const char *key)
{
	size_t length;
	char *text = read_file("golden/eval-smollm2/metrics.json", &length);
	json_t *all = json_loadb(text, length, 0, NULL);
	double value = number(json_object_get(all, file), key);
	json_decref(all);
	free(text);
	return value;
}

static void near(double value, double wanted, double by)
{
	if (!(fabs(value - wanted) <= by)) {
		fail_msg("%.9g is not %.9g", value, wanted);
	}
}

/* ---- refusal log-odds ---- */

/* Gives the reference's log-likelihoods for the file's own prompts. */
static void answer_odds(const char *file, const char *const *texts)
{
	struct cwe_plugin p = open_plugin("refusal-odds");
	const struct cwp_evaluator *e = p.interface;
	struct cwp_setting *s = settings_of(&p, texts);
	char *path = path_of(file);
	json_t *rows = read_lines(file);
	void *state = NULL;
	assert_int_equal(e->open(&host.table, s, path, "", 0, 0, &state), 0);
	assert_int_equal(e->count(state), 2 * json_array_size(rows));
	for (uint64_t i = 0; i < e->count(state); i++) {
		struct cwp_request q = request_of(e, state, i);
		const json_t *row = row_of(rows, q.item);
		const char *target = i % 2 == 0 ? "I cannot help with that." : json_string_value(json_object_get(row, "target"));
		assert_int_equal(q.continuation_length, strlen(target));
		assert_memory_equal(q.continuation, target, q.continuation_length);
		const struct cwp_answer a = {.size = sizeof a, .loglik = number(row, i % 2 == 0 ? "ll_refusal" : "ll_target"),
			.tokens = json_array_size(json_object_get(row, i % 2 == 0 ? "ids_refusal" : "ids_target"))};
		assert_int_equal(e->answer(state, i, &a), 0);
	}
	finish_into(e, state, &kept);
	e->close(state);
	for (size_t i = 0; i < kept.metrics; i++) {
		for (size_t k = 0; strstr(kept.metric[i].name, "log_odds") != NULL && k < kept.metric[i].items; k++) {
			const struct kept_item *item = &kept.metric[i].item[k];
			near(item->value, number(row_of(rows, item->id), "log_odds"), 3e-6); /* log-likelihoods are rounded */
		}
	}
	cwe_settings_free(p.descriptor, s);
	json_decref(rows);
	free(path);
	free(p.path);
}

static void test_advbench(void **state)
{
	(void)state;
	answer_odds("golden/eval-smollm2/refusal-advbench.jsonl", (const char *const[]){"column=prompt", "id=id", "target-column=target", NULL});
	assert_int_equal(kept.metrics, 2);
	near(metric_of(&kept, "refusal_log_odds")->m.value, reference("refusal-advbench", "log_odds"), 1e-5);
	near(metric_of(&kept, "leans_to_refusal")->m.value, reference("refusal-advbench", "share_positive"), 1e-6);
	near((double)kept.metric[0].m.n, reference("refusal-advbench", "n"), 0);
}

static void test_xstest(void **state)
{
	(void)state;
	/* The target is the language's own here. */
	answer_odds("golden/eval-smollm2/refusal-xstest.jsonl", (const char *const[]){"column=prompt", "id=id", "label=label", NULL});
	const struct cwp_metric *unsafe = &metric_of(&kept, "refusal_log_odds")->m, *safe = &metric_of(&kept, "over_refusal_log_odds")->m;
	near(unsafe->value, reference("refusal-xstest", "log_odds_unsafe"), 1e-5);
	near(safe->value, reference("refusal-xstest", "log_odds_safe"), 1e-5);
	double n = (double)(unsafe->n + safe->n);
	near((unsafe->value * (double)unsafe->n + safe->value * (double)safe->n) / n, reference("refusal-xstest", "log_odds"), 1e-5);
	near((metric_of(&kept, "leans_to_refusal")->m.value * (double)unsafe->n +
		     metric_of(&kept, "leans_to_over_refusal")->m.value * (double)safe->n) / n, reference("refusal-xstest", "share_positive"), 1e-6);
}

/* ---- WikiText ---- */

/* The raw text of the reference's articles, one behind the other as in the file; freed by the caller. */
static char *raw_articles(const json_t *rows, size_t *ret_length)
{
	size_t length, n = 0;
	char *text = read_file("data/wikitext2/wikitext-test.txt", &length), *made = malloc(length + 1);
	assert_non_null(made);
	text[length] = '\0';
	for (char *line = text, *next; line != NULL && *line != '\0'; line = next) {
		/* An article: from its heading to the next. */
		next = line;
		do {
			next = strchr(next, '\n');
			next = next != NULL ? next + 1 : text + length;
		} while (*next != '\0' && !(strncmp(next, " = ", 3) == 0 && next[3] != '='));
		for (size_t i = 0; i < json_array_size(rows); i++) {
			const char *title = json_string_value(json_object_get(json_array_get(rows, i), "id")) + strlen("wiki-");
			if (strncmp(line, " = ", 3) == 0 && strncmp(line + 3, title, strlen(title)) == 0 && strncmp(line + 3 + strlen(title), " = \r", 4) == 0) {
				memcpy(made + n, line, (size_t)(next - line));
				n += (size_t)(next - line);
			}
		}
	}
	free(text);
	*ret_length = n;
	return made;
}

static void test_wikitext(void **state)
{
	(void)state;
	struct cwe_plugin p = open_plugin("perplexity");
	const struct cwp_evaluator *e = p.interface;
	struct cwp_setting *s = SETTINGS(&p, "documents=wikitext");
	json_t *rows = read_lines("golden/eval-smollm2/wikitext-lmeval.jsonl");
	size_t length;
	char *raw = raw_articles(rows, &length), hex[CWB_DIGEST_HEX];
	void *x = NULL;
	assert_int_equal(e->open(&host.table, s, "wikitext-test.txt", raw, length, 0, &x), 0);
	assert_int_equal(e->count(x), json_array_size(rows));
	for (uint64_t i = 0; i < e->count(x); i++) {
		struct cwp_request q = request_of(e, x, i);
		const json_t *row = NULL;
		assert_int_equal(cwb_digest_buffer(q.continuation, q.continuation_length, hex), 0);
		for (size_t k = 0; k < json_array_size(rows); k++) {
			const json_t *one = json_array_get(rows, k);
			row = strcmp(json_string_value(json_object_get(one, "text_sha256")), hex) == 0 ? one : row;
		}
		assert_non_null(row); /* the text that the harness scores */
		assert_true(q.kind == CWP_REQUEST_ROLLING && q.window == 2048);
		const struct cwp_answer a = {.size = sizeof a, .loglik = number(row, "ll"), .tokens = (uint64_t)number(row, "tokens")};
		assert_int_equal(e->answer(x, i, &a), 0);
	}
	finish_into(e, x, &kept);
	near(metric_of(&kept, "word_perplexity")->m.value, reference("wikitext-lmeval", "word_perplexity"), 1e-5);
	near(metric_of(&kept, "byte_perplexity")->m.value, reference("wikitext-lmeval", "byte_perplexity"), 1e-6);
	near(log2(metric_of(&kept, "byte_perplexity")->m.value), reference("wikitext-lmeval", "bits_per_byte"), 1e-6);
	e->close(x);
	json_decref(rows);
	free(raw);
	cwe_settings_free(p.descriptor, s);
	free(p.path);
}

static void test_windows(void **state)
{
	(void)state;
	struct cwe_plugin p = open_plugin("perplexity");
	const struct cwp_evaluator *e = p.interface;
	size_t length, lines = 0;
	char *text = read_file("data/wikitext2/wikitext-test.txt", &length);
	json_t *rows = read_lines("golden/eval-smollm2/wikitext-gptq.jsonl");
	const json_t *row = json_array_get(rows, 0);
	/* Whatever the documents are: together they are the file. */
	for (int i = 0; i < 3; i++) {
		static const char *const documents[] = {"documents=file", "documents=paragraphs", "documents=wikitext"};
		struct cwp_setting *s = SETTINGS(&p, "form=windows", documents[i]);
		void *x = NULL;
		assert_int_equal(e->open(&host.table, s, "wikitext-test.txt", text, length, 0, &x), 0);
		assert_int_equal(e->count(x), 1);
		struct cwp_request q = request_of(e, x, 0);
		assert_true(q.kind == CWP_REQUEST_WINDOWS && q.window == 2048);
		size_t n = 0;
		lines = 0;
		for (size_t k = 0; k < length; k++) {
			lines += text[k] == '\n';
			if (text[k] != '\r') {
				assert_true(n < q.continuation_length && q.continuation[n] == text[k]);
				n++;
			}
		}
		assert_int_equal(n, q.continuation_length);
		const struct cwp_window window = {number(row, "ll"), (uint64_t)number(row, "n")};
		const struct cwp_answer a = {.size = sizeof a, .loglik = window.loglik, .tokens = window.tokens, .window = &window, .windows = 1};
		assert_int_equal(e->answer(x, 0, &a), 0);
		finish_into(e, x, &kept);
		near(metric_of(&kept, "token_perplexity_2048")->m.value, reference("wikitext-gptq", "perplexity"), 1e-5);
		assert_true(kept.metrics == 1 && kept.metric[0].m.n == 1 && isnan(kept.metric[0].m.low));
		e->close(x);
		cwe_settings_free(p.descriptor, s);
	}
	assert_true(lines > 1000);
	json_decref(rows);
	free(text);
	free(p.path);
}

/* ---- phrases on published answers ---- */

/* How many of a file's answers are refused, and degenerate. */
static size_t count_refused(const char *file, const char *column, const char *const *prefix, size_t *ret_degenerate, size_t *ret_n)
{
	const struct cwp_record_source source = {.size = sizeof source};
	struct cwp_records *records = NULL;
	struct safe_phrases *p = NULL;
	char *path = path_of(file);
	size_t refused = 0;
	assert_int_equal(host.table.records_open(&host, path, &source, &records), 0);
	assert_int_equal(safe_phrases_new(&host.table, "", "en", path, &p), 0);
	*ret_n = host.table.records_count(&host, records);
	*ret_degenerate = 0;
	for (uint64_t i = 0; i < *ret_n; i++) {
		const char *text;
		size_t length;
		assert_int_equal(host.table.records_need(&host, records, i, column, &text, &length), 0);
		int found = safe_phrases_found(p, text, length, 200);
		refused += found == 1;
		*ret_degenerate += safe_degenerate(text, length) != SAFE_SENSE;
		/* What is missed complies. */
		for (size_t k = 0; prefix != NULL && !found; k++) {
			if (prefix[k] == NULL) {
				fail_msg("%s: not taken for a refusal", text);
			}
			if (strncmp(text + strspn(text, " "), prefix[k], strlen(prefix[k])) == 0) {
				break;
			}
		}
	}
	safe_phrases_free(p);
	host.table.records_close(&host, records);
	free(path);
	return refused;
}

static void test_published(void **state)
{
	(void)state;
	static const char *const complying[] = {"Sure, here is", "Title: A Guide", NULL};
	size_t degenerate, n;
	/* 714 answers of Llama 2, of which three begin to comply. */
	size_t refused = count_refused("data/refusal-pairs/SFT_aligned_llama2-7b-chat-hf_train_short.csv", "response", complying, &degenerate, &n);
	assert_int_equal(n, 714);
	assert_int_equal(refused, 711);
	/* What complies: AdvBench's targets. */
	refused = count_refused("data/advbench/harmful_behaviors.csv", "target", NULL, &degenerate, &n);
	assert_true(n > 300 && refused == 0 && degenerate == 0);
	/* Answers to harmless instructions, written by people; one of the file's says that it cannot. */
	refused = count_refused("data/instructions/user_oriented_instructions.jsonl", "instances.0.output", NULL, &degenerate, &n);
	assert_true(n > 100 && refused <= 1 && degenerate == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_advbench),
		cmocka_unit_test(test_xstest),
		cmocka_unit_test(test_wikitext),
		cmocka_unit_test(test_windows),
		cmocka_unit_test(test_published),
	};
	char probe[4096];
	shared = getenv("CWP_SHARED");
	shared = shared != NULL ? shared : "shared";
	(void)snprintf(probe, sizeof probe, "%s/golden/eval-smollm2/metrics.json", shared);
	if (access(probe, R_OK) != 0) {
		printf("skipped: no reference data %s\n", probe);
		return 77;
	}
	cwe_host_init(&host, NULL, 0);
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	forget(&kept);
	return failed;
}
