/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Evaluators: intervals against published values, words as Python counts them, metrics by hand. */
#include "tests/plugins/common.h"

#include <math.h>
#include <unistd.h>

#include <cwp/evaluator.h>

#include "plugins/evaluators/common/statistic.h"

/* ---- statistics ---- */

static void test_wilson(void **state)
{
	(void)state;
	/* Newcombe 1998, table I, method 3. */
	static const double known[][4] = {{81, 263, 0.2553, 0.3662}, {15, 148, 0.0624, 0.1605}, {0, 20, 0, 0.1611}, {1, 29, 0.0061, 0.1718}};
	for (size_t i = 0; i < 4; i++) {
		double low, high;
		statistic_wilson(known[i][0], known[i][1], &low, &high);
		assert_true(fabs(low - known[i][2]) < 5.1e-5 && fabs(high - known[i][3]) < 5.1e-5);
		statistic_wilson(known[i][1] - known[i][0], known[i][1], &low, &high);
		assert_true(fabs(1 - high - known[i][2]) < 5.1e-5 && fabs(1 - low - known[i][3]) < 5.1e-5);
	}
	double low, high;
	statistic_wilson(0, 0, &low, &high);
	assert_true(low == 0 && high == 1);
}

static void test_mean(void **state)
{
	(void)state;
	const double x[] = {2, 4, 4, 4, 5, 5, 7, 9};
	struct cwp_metric m = {.size = sizeof m};
	statistic_mean(x, 8, &m);
	assert_int_equal(m.n, 8);
	assert_true(m.value == 5);
	assert_true(fabs(m.standard_error - sqrt(32.0 / 7 / 8)) < 1e-15);
	assert_true(fabs(m.high - m.value - 1.959963984540054 * m.standard_error) < 1e-12);
	statistic_mean(x, 1, &m);
	assert_true(m.value == 2 && m.standard_error == 0);
}

static void test_choose(void **state)
{
	(void)state;
	struct cwe_host host;
	size_t *a = NULL, *b = NULL, seen[100] = {0};
	cwe_host_init(&host, NULL, 3);
	assert_int_equal(statistic_choose(&host.table, 100, NULL, NULL, 10, &a), 10);
	assert_int_equal(statistic_choose(&host.table, 100, NULL, NULL, 20, &b), 20);
	for (size_t i = 0; i < 20; i++) {
		assert_true(i == 0 || b[i] > b[i - 1]);
		assert_true(b[i] < 100);
		seen[b[i]] = 1;
	}
	for (size_t i = 0; i < 10; i++) {
		assert_true(seen[a[i]]); /* fewer items are a part of more */
	}
	free(a);
	free(b);
	assert_int_equal(statistic_choose(&host.table, 5, NULL, NULL, 0, &a), 5);
	assert_int_equal(a[4], 4);
	free(a);
	assert_int_equal(statistic_choose(&host.table, 5, NULL, NULL, 9, &a), 5);
	free(a);
	assert_int_equal(statistic_choose(&host.table, 0, NULL, NULL, 9, &a), 0);
	free(a);
	/* What is left out leaves the choice among the others as it is. */
	static const unsigned char skip[5] = {0, 1, 0, 1, 1};
	assert_int_equal(statistic_choose(&host.table, 5, skip, NULL, 0, &a), 2);
	assert_true(a[0] == 0 && a[1] == 2);
	free(a);
	unsigned char all[100] = {0};
	assert_int_equal(statistic_choose(&host.table, 100, NULL, NULL, 20, &a), 20);
	all[a[3]] = 1;
	assert_int_equal(statistic_choose(&host.table, 100, all, NULL, 19, &b), 19);
	for (size_t i = 0; i < 19; i++) {
		assert_int_equal(b[i], a[i < 3 ? i : i + 1]);
	}
	free(a);
	free(b);
}

/* Strata of 50, 30, 15 and 5 items: each has its share of any choice, and a smaller choice is a part of a larger one. */
static void test_choose_strata(void **state)
{
	(void)state;
	struct cwe_host host;
	size_t stratum[100], *a = NULL, *b = NULL, count[4] = {0}, seen[100] = {0};
	cwe_host_init(&host, NULL, 3);
	for (size_t i = 0; i < 100; i++) {
		stratum[i] = i % 20 < 10 ? 7 : i % 20 < 16 ? 1 : i % 20 < 19 ? 0 : 3;
	}
	assert_int_equal(statistic_choose(&host.table, 100, NULL, stratum, 20, &a), 20);
	for (size_t i = 0; i < 20; i++) {
		seen[a[i]] = 1;
		count[stratum[a[i]] == 7 ? 0 : stratum[a[i]] == 1 ? 1 : stratum[a[i]] == 0 ? 2 : 3]++;
	}
	assert_int_equal(count[0], 10);
	assert_int_equal(count[1], 6);
	assert_int_equal(count[2], 3);
	assert_int_equal(count[3], 1);
	assert_int_equal(statistic_choose(&host.table, 100, NULL, stratum, 40, &b), 40);
	for (size_t i = 0; i < 40; i++) {
		seen[b[i]] = 2;
	}
	for (size_t i = 0; i < 20; i++) {
		assert_int_equal(seen[a[i]], 2);
	}
	free(a);
	free(b);
}

/* ---- the plugins ---- */

static char folder[] = "/tmp/cwp-evaluators-XXXXXX", file[64];

static int make_folder(void **state)
{
	(void)state;
	if (mkdtemp(folder) == NULL) {
		return -1;
	}
	(void)snprintf(file, sizeof file, "%s/data.csv", folder);
	return 0;
}

static int remove_folder(void **state)
{
	(void)state;
	(void)unlink(file);
	return rmdir(folder);
}

struct sink {
	struct cwp_metric metric[8];
	size_t metrics, items;
	double outcome[64];
	char id[64][32];
};

static void take_metric(void *ctx, const struct cwp_metric *m)
{
	struct sink *s = ctx;
	s->metric[s->metrics++] = *m;
	s->items = 0;
}

static void take_item(void *ctx, const struct cwp_item *item)
{
	struct sink *s = ctx;
	(void)snprintf(s->id[s->items], sizeof s->id[0], "%s", item->id);
	s->outcome[s->items++] = item->value;
}

/* Opens, or returns the code and leaves the reason in host->failure. */
static int open_state(const struct cwe_plugin *p, struct cwe_host *host, struct cwp_setting *settings, const char *data,
	void **ret)
{
	const struct cwp_evaluator *e = p->interface;
	FILE *f = fopen(file, "w");
	assert_non_null(f);
	assert_true(fputs(data, f) >= 0 && fclose(f) == 0);
	return e->open(&host->table, settings, file, data, strlen(data), 0, ret);
}

static void test_crows(void **state)
{
	(void)state;
	static const double loglik[] = {-10, -12, -10, -9, -5, -5, -1, -4};
	struct cwe_plugin p = open_plugin("crows-pairs");
	const struct cwp_evaluator *e = p.interface;
	struct cwp_setting *s = SETTINGS(&p, "id=n", "more=m", "less=l");
	struct cwe_host host;
	struct sink out = {0};
	struct cwp_metric_sink sink = {.size = sizeof sink, .ctx = &out, .metric = take_metric, .item = take_item};
	void *c = NULL;
	cwe_host_init(&host, NULL, 0);
	assert_int_equal(open_state(&p, &host, s, "n,l,m\nw,L1,M1\nx,L2,M2\ny,\"L,3\",M3\nz,L4,M4\n", &c), 0);
	assert_int_equal(e->count(c), 8);
	struct cwp_request q = {.size = sizeof q};
	assert_int_equal(e->request(c, 5, &q), 0);
	assert_int_equal(q.kind, CWP_REQUEST_LOGLIK);
	assert_int_equal(q.context_length, 0);
	assert_int_equal(q.continuation_length, 3);
	assert_memory_equal(q.continuation, "L,3", 3);
	for (uint64_t i = 0; i < 8; i++) {
		assert_int_equal(e->answer(c, i, &(struct cwp_answer){.size = sizeof(struct cwp_answer), .loglik = loglik[i]}), 0);
	}
	assert_int_equal(e->finish(c, &sink), 0);
	assert_int_equal(out.metrics, 2);
	assert_string_equal(out.metric[0].name, "pct_stereotype");
	assert_true(out.metric[0].value == 0.5); /* the tie counts against */
	assert_true(out.metric[0].ideal == 0.5 && out.metric[0].direction == CWP_IDEAL_IS_BEST && out.metric[0].n == 4);
	assert_true(out.metric[0].low > 0.14 && out.metric[0].low < 0.16 && out.metric[0].high > 0.84 && out.metric[0].high < 0.86);
	assert_string_equal(out.metric[1].name, "likelihood_diff");
	assert_true(out.metric[1].value == 1.5);
	assert_int_equal(out.items, 4);
	assert_string_equal(out.id[3], "z");
	assert_true(out.outcome[3] == 3);
	e->close(c);
	e->close(NULL);
	cwe_settings_free(p.descriptor, s);
	free(p.path);
}

/* An item with an "x" in its key is calibrated on. */
static int has_x(void *arg, const char *identity)
{
	size_t n = strlen(arg);
	assert_true(strncmp(identity, arg, n) == 0 && identity[n] == '/');
	return strchr(identity + n + 1, 'x') != NULL;
}

static void test_crows_calibrated(void **state)
{
	(void)state;
	struct cwe_plugin p = open_plugin("crows-pairs");
	const struct cwp_evaluator *e = p.interface;
	struct cwp_setting *s = settings_of(&p, NULL);
	struct cwe_host host;
	void *c = NULL;
	char name[] = "crows-pairs";
	cwe_host_init(&host, NULL, 0);
	host.calibrated = has_x;
	host.calibrated_arg = name;
	assert_int_equal(open_state(&p, &host, s, ",sent_more,sent_less\n1,a,b\n2x,c,d\n3,e,f\nx,g,h\n", &c), 0);
	assert_int_equal(e->count(c), 4);
	assert_int_equal(host.excluded, 2);
	struct cwp_request q = {.size = sizeof q};
	assert_int_equal(e->request(c, 2, &q), 0);
	assert_memory_equal(q.continuation, "e", 1);
	e->close(c);
	c = NULL;
	assert_int_equal(open_state(&p, &host, s, ",sent_more,sent_less\nx,a,b\n", &c), CWP_EVALUE);
	assert_null(c);
	assert_non_null(strstr(host.failure, "the job calibrates on every pair of this file"));
	cwe_settings_free(p.descriptor, s);
	free(p.path);
}

static void test_perplexity_calibrated(void **state)
{
	(void)state;
	struct cwe_plugin p = open_plugin("perplexity");
	const struct cwp_evaluator *e = p.interface;
	struct cwp_setting *s = settings_of(&p, NULL);
	struct cwe_host host;
	void *c = NULL;
	char name[] = "text";
	cwe_host_init(&host, NULL, 0);
	host.calibrated = has_x;
	host.calibrated_arg = name;
	assert_int_equal(open_state(&p, &host, s, "onex\r\n\r\nthree\n\nfourx\n", &c), 0);
	assert_int_equal(e->count(c), 1);
	assert_int_equal(host.excluded, 2);
	struct cwp_request q = {.size = sizeof q};
	assert_int_equal(e->request(c, 0, &q), 0);
	assert_memory_equal(q.continuation, "three", 5);
	e->close(c);
	c = NULL;
	assert_int_equal(open_state(&p, &host, s, "onex", &c), CWP_EVALUE);
	assert_null(c);
	assert_non_null(strstr(host.failure, "every passage"));
	cwe_settings_free(p.descriptor, s);
	free(p.path);
}

static void test_crows_refusals(void **state)
{
	(void)state;
	static const struct {
		const char *data;
		int code;
		const char *words;
	} bad[] = {{"", CWP_EVALUE, "no pair"}, {"sent_more,sent_less\n", CWP_EVALUE, "no pair"},
		{"sent_more,b\n1,2\n", CWP_EMISSING, "data.csv:2: sent_less: is missing"},
		{"sent_more,sent_less\n1\n", CWP_EFORMAT, "data.csv:2"},
		{"sent_more,sent_less\na,b\nc,\n", CWP_EMISSING, "data.csv:3: sent_less: is empty"},
		{"sent_more,sent_less\n\"a,b\n", CWP_EFORMAT, "quote"}};
	struct cwe_plugin p = open_plugin("crows-pairs");
	struct cwp_setting *s = settings_of(&p, NULL);
	struct cwe_host host;
	cwe_host_init(&host, NULL, 0);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		void *c = NULL;
		host.failure[0] = '\0';
		assert_int_equal(open_state(&p, &host, s, bad[i].data, &c), bad[i].code);
		assert_null(c);
		if (strstr(host.failure, bad[i].words) == NULL) {
			fail_msg("%s does not say %s", host.failure, bad[i].words);
		}
	}
	cwe_settings_free(p.descriptor, s);
	free(p.path);
}

static void test_perplexity(void **state)
{
	(void)state;
	struct cwe_plugin p = open_plugin("perplexity");
	const struct cwp_evaluator *e = p.interface;
	struct cwp_setting *s = settings_of(&p, NULL);
	struct cwe_host host;
	struct sink out = {0};
	struct cwp_metric_sink sink = {.size = sizeof sink, .ctx = &out, .metric = take_metric, .item = take_item};
	void *c = NULL;
	cwe_host_init(&host, NULL, 0);
	/* 3 and 4 words; line ends within a passage are white space, a no-break space and an ideographic one too. */
	assert_int_equal(open_state(&p, &host, s, "one two\r\nthree\r\n\r\n\r\nfour\xc2\xa0" "five\xe3\x80\x80six \xc3\xa9t\xc3\xa9\n\n \n", &c), 0);
	assert_int_equal(e->count(c), 2);
	struct cwp_request q = {.size = sizeof q};
	assert_int_equal(e->request(c, 0, &q), 0);
	assert_int_equal(q.kind, CWP_REQUEST_ROLLING);
	assert_int_equal(q.window, 2048);
	assert_int_equal(q.continuation_length, 13);
	assert_memory_equal(q.continuation, "one two\nthree", 13);
	assert_int_equal(e->request(c, 1, &q), 0);
	assert_int_equal(q.continuation_length, 22);
	assert_int_equal(e->answer(c, 0, &(struct cwp_answer){.loglik = -6, .tokens = 5}), 0);
	assert_int_equal(e->answer(c, 1, &(struct cwp_answer){.loglik = -15, .tokens = 9}), 0);
	assert_int_equal(e->finish(c, &sink), 0);
	assert_int_equal(out.metrics, 3);
	assert_string_equal(out.metric[0].name, "word_perplexity");
	assert_true(fabs(out.metric[0].value - exp(3)) < 1e-12);
	assert_true(fabs(out.metric[1].value - exp(21.0 / 35)) < 1e-12);
	assert_true(fabs(out.metric[2].value - exp(1.5)) < 1e-12);
	assert_true(out.metric[0].low < out.metric[0].value && out.metric[0].high > out.metric[0].value && isnan(out.metric[0].ideal));
	e->close(c);
	assert_int_equal(open_state(&p, &host, s, " \n\n\t\r\n", &c), CWP_EFORMAT);
	assert_non_null(strstr(host.failure, "no text"));
	cwe_settings_free(p.descriptor, s);
	s = SETTINGS(&p, "documents=file", "window=16");
	assert_int_equal(open_state(&p, &host, s, "a\n\nb\n", &c), 0);
	assert_int_equal(e->count(c), 1);
	assert_int_equal(e->request(c, 0, &q), 0);
	assert_int_equal(q.continuation_length, 5);
	assert_int_equal(q.window, 16);
	e->close(c);
	cwe_settings_free(p.descriptor, s);
	free(p.path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wilson),
		cmocka_unit_test(test_mean),
		cmocka_unit_test(test_choose),
		cmocka_unit_test(test_choose_strata),
		cmocka_unit_test(test_crows),
		cmocka_unit_test(test_crows_calibrated),
		cmocka_unit_test(test_perplexity_calibrated),
		cmocka_unit_test(test_crows_refusals),
		cmocka_unit_test(test_perplexity),
	};
	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
