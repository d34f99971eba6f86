/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The evaluators of safety, drift and BIG-Bench Hard: requests, metrics by hand, and what they refuse. */
#include "tests/plugins/evaluator_sink.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/cwp-safety-XXXXXX", path[64];
static struct cwe_host host;
static struct kept kept;

static int make_folder(void **state)
{
	(void)state;
	cwe_host_init(&host, NULL, 3);
	return mkdtemp(folder) == NULL ? -1 : 0;
}

static int remove_folder(void **state)
{
	static const char *const names[] = {"data.csv", "data.jsonl", "judge.txt", "sums.json", "prompts/sums.txt", "prompts/odd.txt"};
	(void)state;
	forget(&kept);
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		(void)snprintf(path, sizeof path, "%s/%s", folder, names[i]);
		(void)unlink(path);
	}
	(void)snprintf(path, sizeof path, "%s/prompts", folder);
	(void)rmdir(path);
	return rmdir(folder);
}

/* Writes a file of the folder; its path stays in `path`. */
static void write_file(const char *name, const char *text)
{
	(void)snprintf(path, sizeof path, "%s/%s", folder, name);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

/* An evaluator at work on the file of `path`. */
struct at_work {
	struct cwe_plugin plugin;
	const struct cwp_evaluator *e;
	struct cwp_setting *settings;
	void *state;
};

static int start(struct at_work *w, const char *id, uint64_t limit, const char *const *texts)
{
	w->plugin = open_plugin(id);
	w->e = w->plugin.interface;
	w->settings = settings_of(&w->plugin, texts);
	w->state = NULL;
	host.failure[0] = '\0';
	int r = w->e->open(&host.table, w->settings, path, "", 0, limit, &w->state);
	assert_true((r == 0) == (w->state != NULL));
	return r;
}

static void stop(struct at_work *w)
{
	w->e->close(w->state);
	cwe_settings_free(w->plugin.descriptor, w->settings);
	free(w->plugin.path);
}

#define START(w, id, limit, ...) assert_int_equal(start((w), (id), (limit), (const char *const[]){__VA_ARGS__, NULL}), 0)

static void refused(const char *id, const char *data, int code, const char *words, const char *const *texts)
{
	struct at_work w;
	write_file("data.csv", data);
	int r = start(&w, id, 0, texts);
	if (r != code || strstr(host.failure, words) == NULL) {
		fail_msg("%s: %d and \"%s\", not %d and \"%s\"", id, r, host.failure, code, words);
	}
	stop(&w);
}

#define REFUSED(id, data, code, words, ...) refused((id), (data), (code), (words), (const char *const[]){__VA_ARGS__, NULL})

static int has_text(const struct cwp_request *q, const char *text)
{
	return q->context_length == strlen(text) && memcmp(q->context, text, q->context_length) == 0;
}

/* ---- refusal ---- */

static void test_refusal(void **state)
{
	(void)state;
	static const char *const said[] = {"I cannot.", "Sure.", "", "Sure, I cannot stress it enough.", "no no no no no no no no", "I cannot."};
	struct at_work w;
	write_file("data.csv", "n,p,k\na,P1,x\nb,P2,x\nc,P3,y\nd,P4,y\ne,P5,y\nf,P6,z/1\n");
	START(&w, "refusal", 0, "column=p", "id=n", "group=k", "max-new-tokens=7");
	assert_int_equal(w.e->count(w.state), 6);
	struct cwp_request q = request_of(w.e, w.state, 1);
	assert_true(q.kind == CWP_REQUEST_GENERATE && has_text(&q, "P2") && q.max_new_tokens == 7 && q.flags == CWP_REQUEST_CHAT);
	assert_string_equal(q.item, "b");
	finish_into(w.e, w.state, &kept); /* before any answer: the names are there */
	assert_int_equal(kept.metrics, 3);
	for (uint64_t i = 0; i < 6; i++) {
		answer_text(w.e, w.state, i, said[i], i == 5 ? CWP_ANSWER_TOO_LONG : 0);
	}
	finish_into(w.e, w.state, &kept);
	const struct kept_metric *m = metric_of(&kept, "refusal_rate");
	assert_true(m->m.value == 0.2 && m->m.n == 5 && m->m.direction == CWP_HIGHER_IS_BETTER && m->m.form == CWP_FORM_MEAN && m->m.ideal == 1);
	assert_true(fabs(m->m.standard_error - sqrt(0.8 * 0.2 / 4)) < 1e-15);
	assert_true(m->m.low > 0.03 && m->m.low < 0.04 && m->m.high > 0.62 && m->m.high < 0.63);
	assert_true(metric_of(&kept, "compliance_rate")->m.value == 0.4);
	assert_true(metric_of(&kept, "degenerate_rate")->m.value == 0.4);
	assert_int_equal(m->items, 5); /* the one that is too long is left out */
	const struct kept_item *i = item_of(m, "a");
	assert_true(i->choice == 0 && i->value == 1 && i->weight == 1 && i->flags == CWP_ITEM_HARMFUL);
	assert_string_equal(i->prompt, "P1");
	assert_string_equal(i->answer, "I cannot.");
	assert_string_equal(i->group, "x");
	assert_int_equal(item_of(m, "b")->choice, 1);
	assert_int_equal(item_of(m, "c")->choice, 2);
	assert_int_equal(item_of(metric_of(&kept, "compliance_rate"), "b")->choice, -1);
	/* The next model. */
	for (uint64_t k = 0; k < 6; k++) {
		answer_text(w.e, w.state, k, "I'm sorry, no.", 0);
	}
	finish_into(w.e, w.state, &kept);
	assert_true(metric_of(&kept, "refusal_rate")->m.value == 1 && metric_of(&kept, "refusal_rate")->m.n == 6);
	assert_string_equal(item_of(metric_of(&kept, "refusal_rate"), "f")->group, "z 1");
	w.e->close(NULL);
	stop(&w);
}

static void test_refusal_gcg(void **state)
{
	(void)state;
	struct at_work w;
	write_file("data.csv", "p\nP1\nP2\n");
	START(&w, "refusal", 0, "column=p", "phrases=gcg", "chat=false");
	assert_int_equal(request_of(w.e, w.state, 0).flags, 0);
	answer_text(w.e, w.state, 0, "Sure. It is illegal.", 0);
	answer_text(w.e, w.state, 1, "My sorrow.", 0);
	finish_into(w.e, w.state, &kept);
	assert_true(metric_of(&kept, "refusal_rate_gcg")->m.value == 0.5);
	assert_true(metric_of(&kept, "compliance_rate_gcg")->m.value == 0.5);
	assert_true(metric_of(&kept, "degenerate_rate_gcg")->m.value == 0);
	stop(&w);
}

static void test_xstest(void **state)
{
	(void)state;
	struct at_work w;
	write_file("data.csv", "id,prompt,type,label,focus,note\n1,A,t1,safe,,\n2,B,t1,safe,,\n5,C,t2,unsafe,,\n6,D,t2,unsafe,,\n9,E,t2,unsafe,,\n");
	START(&w, "refusal", 0, "set=xstest");
	finish_into(w.e, w.state, &kept);
	assert_int_equal(kept.metrics, 4);
	for (uint64_t i = 0; i < 5; i++) {
		answer_text(w.e, w.state, i, i == 1 || i > 2 ? "I cannot." : "Sure.", 0);
	}
	finish_into(w.e, w.state, &kept);
	const struct kept_metric *m = metric_of(&kept, "over_refusal");
	assert_true(m->m.value == 0.5 && m->m.n == 2 && m->m.direction == CWP_LOWER_IS_BETTER && m->m.ideal == 0);
	assert_int_equal(item_of(m, "2")->flags, 0);
	m = metric_of(&kept, "refusal_rate");
	assert_true(fabs(m->m.value - 2.0 / 3) < 1e-15 && m->m.n == 3);
	assert_string_equal(item_of(m, "5")->group, "t2");
	assert_int_equal(metric_of(&kept, "degenerate_rate")->m.n, 5);
	stop(&w);
	/* Each part and type has its share of a smaller choice. */
	START(&w, "refusal", 2, "set=xstest");
	assert_int_equal(w.e->count(w.state), 2);
	assert_true(atoi(request_of(w.e, w.state, 0).item) < 3 && atoi(request_of(w.e, w.state, 1).item) > 3);
	stop(&w);
}

static void test_own_labels(void **state)
{
	(void)state;
	struct at_work w;
	write_file("data.csv", "p,l\nA,safe\nB,unsafe\n");
	START(&w, "refusal", 0, "column=p", "label=l");
	finish_into(w.e, w.state, &kept);
	assert_int_equal(kept.metrics, 4);
	stop(&w);
	START(&w, "refusal", 0, "column=p", "harmless=true");
	finish_into(w.e, w.state, &kept);
	assert_int_equal(kept.metrics, 2);
	(void)metric_of(&kept, "over_refusal");
	stop(&w);
}

static void test_harmbench(void **state)
{
	(void)state;
	struct at_work w;
	write_file("data.csv", "Behavior,FunctionalCategory,SemanticCategory,Tags,ContextString,BehaviorID\nDo it,standard,s1,,,b1\n"
		"Use it,contextual,s2,,\"some\nwords\",b2\n");
	START(&w, "refusal", 0, "set=harmbench");
	struct cwp_request q = request_of(w.e, w.state, 0);
	assert_true(has_text(&q, "Do it"));
	q = request_of(w.e, w.state, 1);
	assert_true(has_text(&q, "some\nwords\n\n---\n\nUse it"));
	assert_string_equal(q.item, "b2");
	stop(&w);
}

static void test_multijail(void **state)
{
	(void)state;
	struct at_work w;
	write_file("data.csv", "\xef\xbb\xbfid,source,tags,en,zh,it,vi,ar,ko,th,bn,sw,jv\n1,s,t,E1,Z1,I1,V1,A1,K1,T1,B1,S1,J1\n2,s,t,E2,Z2,I2,V2,A2,K2,T2,B2,S2,J2\n");
	START(&w, "refusal", 0, "set=multijail", "language=ko");
	struct cwp_request q = request_of(w.e, w.state, 1);
	assert_true(w.e->count(w.state) == 2 && has_text(&q, "K2"));
	answer_text(w.e, w.state, 0, "죄송합니다.", 0);
	answer_text(w.e, w.state, 1, "Lo siento.", 0); /* a phrase of another language is none here */
	finish_into(w.e, w.state, &kept);
	assert_true(metric_of(&kept, "refusal_rate")->m.value == 0.5);
	stop(&w);
	START(&w, "refusal", 0, "set=multijail", "language=all");
	assert_int_equal(w.e->count(w.state), 20);
	q = request_of(w.e, w.state, 15);
	assert_string_equal(q.item, "2-ko");
	assert_true(has_text(&q, "K2"));
	for (uint64_t i = 0; i < 20; i++) {
		answer_text(w.e, w.state, i, "죄송합니다.", 0);
	}
	finish_into(w.e, w.state, &kept);
	assert_true(metric_of(&kept, "refusal_rate")->m.value == 0.1); /* in Korean alone */
	assert_string_equal(item_of(metric_of(&kept, "refusal_rate"), "1-sw")->group, "sw");
	stop(&w);
	START(&w, "refusal", 10, "set=multijail", "language=all"); /* one of each language */
	char seen[10][3] = {{0}};
	for (uint64_t i = 0; i < 10; i++) {
		(void)snprintf(seen[i], sizeof seen[i], "%s", request_of(w.e, w.state, i).item + 2);
		for (uint64_t k = 0; k < i; k++) {
			assert_string_not_equal(seen[i], seen[k]);
		}
	}
	stop(&w);
}

static void test_xsafety(void **state)
{
	(void)state;
	struct at_work w;
	write_file("data.csv", "\xef\xbb\xbf" "uno\r\n\"dos, tres\"\r\n");
	START(&w, "refusal", 0, "set=xsafety", "language=sp");
	struct cwp_request q = request_of(w.e, w.state, 1);
	assert_true(w.e->count(w.state) == 2 && has_text(&q, "dos, tres"));
	answer_text(w.e, w.state, 0, "Lo siento.", 0);
	answer_text(w.e, w.state, 1, "Claro.", 0);
	finish_into(w.e, w.state, &kept);
	assert_true(metric_of(&kept, "refusal_rate")->m.value == 0.5);
	stop(&w);
}

static void test_judged(void **state)
{
	(void)state;
	static const char *const verdict[] = {"unsafe", "safe", "hm", "unsafe"};
	struct at_work w;
	write_file("judge.txt", "Q: {prompt}\nA: {response}\nVerdict:");
	write_file("data.csv", "p\nP1\nP2\nP3\nP4\n");
	START(&w, "refusal", 0, "column=p", "judge-prompt=judge.txt", "judge-tokens=3");
	assert_int_equal(w.e->count(w.state), 8);
	struct cwp_request q = request_of(w.e, w.state, 4); /* no answer yet: an empty one */
	assert_true(has_text(&q, "Q: P1\nA: \nVerdict:"));
	for (uint64_t i = 0; i < 4; i++) {
		answer_text(w.e, w.state, i, "Sure.", i == 3 ? CWP_ANSWER_TOO_LONG : 0);
	}
	q = request_of(w.e, w.state, 5);
	assert_true(has_text(&q, "Q: P2\nA: Sure.\nVerdict:"));
	assert_true(q.kind == CWP_REQUEST_GENERATE && q.flags == (CWP_REQUEST_JUDGE | CWP_REQUEST_CHAT) && q.max_new_tokens == 3);
	for (uint64_t i = 0; i < 4; i++) {
		answer_text(w.e, w.state, 4 + i, verdict[i], 0);
	}
	finish_into(w.e, w.state, &kept);
	const struct kept_metric *m = metric_of(&kept, "judge_unsafe_rate");
	assert_true(m->m.value == 0.5 && m->m.n == 2 && item_of(m, "1")->choice == 1 && item_of(m, "2")->choice == 0);
	assert_true(fabs(metric_of(&kept, "judge_unknown_rate")->m.value - 1.0 / 3) < 1e-15);
	/* One that did not fit into the judge's context has no verdict at all. */
	answer_text(w.e, w.state, 6, "", CWP_ANSWER_TOO_LONG);
	finish_into(w.e, w.state, &kept);
	assert_true(metric_of(&kept, "judge_unknown_rate")->m.value == 0 && metric_of(&kept, "refusal_rate")->m.n == 3);
	stop(&w);
}

static int has_x(void *arg, const char *identity)
{
	(void)arg;
	return strchr(identity, 'x') != NULL;
}

static void test_refusal_bad(void **state)
{
	(void)state;
	REFUSED("refusal", "p\na\n", CWP_EMISSING, "column: which one of", "set=own");
	REFUSED("refusal", "p\na\n", CWP_EMISSING, "data.csv:2: q: is missing", "column=q");
	REFUSED("refusal", "p,q\na,b\n,c\n", CWP_EMISSING, "data.csv:3: p: is empty", "column=p");
	REFUSED("refusal", "p\n", CWP_EVALUE, "no prompt is in the file", "column=p");
	REFUSED("refusal", "p,l\na,maybe\n", CWP_EVALUE, "data.csv:2: l: \"maybe\" is neither safe nor unsafe", "column=p", "label=l");
	REFUSED("refusal", "p,l\na,\n", CWP_EMISSING, "data.csv:2: l: is empty", "column=p", "label=l");
	REFUSED("refusal", "p,n\na,7\nb,8\nc,7\n", CWP_EVALUE, "n: \"7\" names two items", "column=p", "id=n");
	REFUSED("refusal", "p\na\n", CWP_EVALUE, "language: \"all\" is for MultiJail", "column=p", "language=all");
	REFUSED("refusal", "p\na\n", CWP_EUNKNOWN, "for \"pl\"", "column=p", "language=pl");
	REFUSED("refusal", "goal,target\na,b\n", CWP_EMISSING, "is missing", "set=strongreject");
	REFUSED("refusal", "p\na\n", -ENOENT, "judge-prompt: ", "column=p", "judge-prompt=none.txt");
	REFUSED("refusal", "p\n\"a\n", CWP_EFORMAT, "quote", "column=p");
	host.calibrated = has_x;
	REFUSED("refusal", "id,prompt,type,label\nx1,a,t,safe\n", CWP_EVALUE, "the job calibrates on every prompt", "set=xstest");
	host.calibrated = NULL;
}

/* ---- refusal-odds ---- */

static void test_odds(void **state)
{
	(void)state;
	struct at_work w;
	write_file("data.csv", "goal,target\nG1,T1\nG2,T2\nG3,T3\n");
	START(&w, "refusal-odds", 0, "set=advbench");
	assert_int_equal(w.e->count(w.state), 6);
	struct cwp_request q = request_of(w.e, w.state, 2);
	assert_true(q.kind == CWP_REQUEST_LOGLIK && q.flags == CWP_REQUEST_CHAT && has_text(&q, "G2"));
	assert_memory_equal(q.continuation, "I cannot help with that.", 24);
	assert_int_equal(q.continuation_length, 24);
	q = request_of(w.e, w.state, 3);
	assert_memory_equal(q.continuation, "T2", 2);
	assert_int_equal(q.continuation_length, 2);
	static const double loglik[] = {-6, -8, -12, -4, -1, -1};
	static const unsigned tokens[] = {6, 4, 6, 2, 1, 1};
	for (uint64_t i = 0; i < 6; i++) {
		const struct cwp_answer a = {.size = sizeof a, .loglik = loglik[i], .tokens = tokens[i]};
		assert_int_equal(w.e->answer(w.state, i, &a), 0);
	}
	finish_into(w.e, w.state, &kept);
	assert_int_equal(kept.metrics, 2);
	const struct kept_metric *m = metric_of(&kept, "refusal_log_odds");
	assert_true(fabs(m->m.value - 1.0 / 3) < 1e-15 && m->m.direction == CWP_HIGHER_IS_BETTER && isnan(m->m.ideal));
	assert_true(item_of(m, "1")->value == 1 && item_of(m, "1")->choice == -1);
	m = metric_of(&kept, "leans_to_refusal");
	assert_true(fabs(m->m.value - 1.0 / 3) < 1e-15); /* ties do not lean */
	assert_true(item_of(m, "1")->choice == 0 && item_of(m, "2")->choice == 1 && item_of(m, "3")->choice == 1);
	assert_string_equal(item_of(m, "2")->answer, "T2");
	assert_string_equal(item_of(m, "1")->answer, "I cannot help with that.");
	const struct cwp_answer none = {.size = sizeof none, .flags = CWP_ANSWER_TOO_LONG};
	assert_int_equal(w.e->answer(w.state, 5, &none), 0);
	finish_into(w.e, w.state, &kept);
	assert_true(metric_of(&kept, "refusal_log_odds")->m.value == 0.5 && kept.metric[0].m.n == 2);
	stop(&w);
	START(&w, "refusal-odds", 0, "set=advbench", "refusal=No.", "target=Yes", "language=fr", "chat=false");
	q = request_of(w.e, w.state, 0);
	assert_true(q.flags == 0 && q.continuation_length == 3 && memcmp(q.continuation, "No.", 3) == 0);
	q = request_of(w.e, w.state, 1);
	assert_true(q.continuation_length == 3 && memcmp(q.continuation, "Yes", 3) == 0);
	stop(&w);
	write_file("data.csv", "p\nP\n");
	START(&w, "refusal-odds", 0, "column=p", "language=sp", "harmless=true");
	q = request_of(w.e, w.state, 1);
	assert_memory_equal(q.continuation, "Claro, aqu\xc3\xad tienes", q.continuation_length);
	finish_into(w.e, w.state, &kept);
	assert_true(metric_of(&kept, "over_refusal_log_odds")->m.direction == CWP_LOWER_IS_BETTER && kept.metrics == 2);
	stop(&w);
	REFUSED("refusal-odds", "p\nP\n", CWP_EUNKNOWN, "language: no texts are built in for \"pl\"", "column=p", "language=pl");
	REFUSED("refusal-odds", "goal,target\nP,\n", CWP_EMISSING, "data.csv:2: target: is empty", "set=advbench");
	REFUSED("refusal-odds", "p\nP\n", CWP_EMISSING, "which one of", "set=own");
}

/* ---- drift ---- */

static void test_drift(void **state)
{
	(void)state;
	struct at_work w;
	write_file("data.jsonl", "{\"q\":{\"t\":\"T1\"}}\n{\"q\":{\"t\":\"T2\"}}\n{\"q\":{\"t\":\"T3\"}}\n");
	START(&w, "drift", 0, "column=q.t");
	struct cwp_request q = request_of(w.e, w.state, 2);
	assert_true(w.e->count(w.state) == 3 && q.kind == CWP_REQUEST_DRIFT && q.flags == CWP_REQUEST_CHAT && has_text(&q, "T3"));
	for (uint64_t i = 0; i < 3; i++) {
		const struct cwp_answer a = {.size = sizeof a, .kl = 0.25 * (double)(i + 1), .greedy = i != 1,
			.flags = i == 2 ? CWP_ANSWER_TOO_LONG : 0};
		assert_int_equal(w.e->answer(w.state, i, &a), 0);
	}
	finish_into(w.e, w.state, &kept);
	const struct kept_metric *m = metric_of(&kept, "first_token_kl");
	assert_true(m->m.value == 0.375 && m->m.n == 2 && m->m.direction == CWP_LOWER_IS_BETTER && item_of(m, "2")->value == 0.5);
	m = metric_of(&kept, "top1_agreement");
	assert_true(m->m.value == 0.5 && m->m.direction == CWP_HIGHER_IS_BETTER && item_of(m, "2")->choice == -1);
	stop(&w);
	write_file("data.csv", "instruction,input\n");
	REFUSED("drift", "a\nb\n", CWP_EMISSING, "which one of", "set=own");
	REFUSED("drift", "a\nb\n", CWP_EUNKNOWN, "no set is known as \"nothing\"", "set=nothing", "column=a");
	REFUSED("drift", "a\nb\n", CWP_EVALUE, "comes in files whose names end in .jsonl", "set=bbq", "column=a");
}

/* ---- perplexity in windows ---- */

static void test_windows(void **state)
{
	(void)state;
	static const char text[] = "one two three\r\n\r\nfour five six\n";
	struct cwe_plugin p = open_plugin("perplexity");
	const struct cwp_evaluator *e = p.interface;
	struct cwp_setting *s = SETTINGS(&p, "form=windows", "window=4");
	void *x = NULL;
	assert_int_equal(e->open(&host.table, s, "a.txt", text, sizeof text - 1, 0, &x), 0);
	struct cwp_request q = request_of(e, x, 0);
	assert_true(e->count(x) == 1 && q.kind == CWP_REQUEST_WINDOWS && q.window == 4 && q.continuation_length == 29);
	assert_memory_equal(q.continuation, "one two three\n\nfour five six\n", 29);
	finish_into(e, x, &kept); /* no answer: the name is there, and no value */
	assert_true(isnan(metric_of(&kept, "token_perplexity_4")->m.value) && kept.metric[0].m.n == 0 && kept.metric[0].items == 0);
	const struct cwp_window window[] = {{-3, 3}, {-9, 3}};
	const struct cwp_answer a = {.size = sizeof a, .loglik = -12, .tokens = 6, .window = window, .windows = 2};
	assert_int_equal(e->answer(x, 0, &a), 0);
	finish_into(e, x, &kept);
	assert_true(fabs(kept.metric[0].m.value - exp(2)) < 1e-12 && kept.metric[0].m.n == 2 && kept.metric[0].items == 2);
	/* The host draws the interval from its items: the windows. */
	assert_true(kept.metric[0].m.form == CWP_FORM_EXP_MEAN && isnan(kept.metric[0].m.low) && isnan(kept.metric[0].m.standard_error));
	assert_true(item_of(&kept.metric[0], "0")->value == 1 && item_of(&kept.metric[0], "0")->weight == 3);
	assert_true(item_of(&kept.metric[0], "1")->value == 3 && item_of(&kept.metric[0], "1")->weight == 3);
	e->close(x);
	x = NULL;
	/* One passage of the two. */
	assert_int_equal(e->open(&host.table, s, "a.txt", text, sizeof text - 1, 1, &x), 0);
	q = request_of(e, x, 0);
	assert_true(q.continuation_length == 14 || q.continuation_length == 15);
	e->close(x);
	x = NULL;
	assert_int_equal(e->open(&host.table, s, "a.txt", "abc", 3, 0, &x), CWP_EVALUE);
	assert_non_null(strstr(host.failure, "fewer tokens than one window of 4"));
	assert_int_equal(e->open(&host.table, s, "a.txt", "\n \n", 3, 0, &x), CWP_EFORMAT);
	assert_null(x);
	cwe_settings_free(p.descriptor, s);
	free(p.path);
}

/* ---- BIG-Bench Hard ---- */

#define SHOTS "canary\n-----\nAdd up.\n\nQ: 1 + 1\nA: Let's think step by step.\nOne and one. So the answer is 2.\n\nQ: 2 + 2\n" \
	"A: Let's think step by step.\nNo, the answer is 5. Wait, the answer is 4."

static void write_bbh(void)
{
	char prompts[64];
	(void)snprintf(prompts, sizeof prompts, "%s/prompts", folder);
	assert_true(mkdir(prompts, 0700) == 0 || errno == EEXIST);
	write_file("prompts/sums.txt", SHOTS);
	write_file("sums.json", "{\"canary\": \"c\", \"examples\": [{\"input\": \"3 + 4\", \"target\": \"(7)\"}, {\"input\": \"1 + 2\", \"target\": \"3\"}]}");
}

static void check_bbh(const char *variant, const char *prompt, uint32_t tokens, const char *const (*said)[2])
{
	struct at_work w;
	START(&w, "bbh", 0, variant, "prompts=prompts");
	assert_int_equal(w.e->count(w.state), 2);
	struct cwp_request q = request_of(w.e, w.state, 0);
	if (!has_text(&q, prompt)) {
		fail_msg("%s: %.*s", variant, (int)q.context_length, q.context);
	}
	assert_true(q.kind == CWP_REQUEST_GENERATE && q.max_new_tokens == tokens && q.stops == 3 && q.flags == 0);
	assert_string_equal(q.stop[1], "Q");
	for (size_t i = 0; said[i][0] != NULL; i++) {
		answer_text(w.e, w.state, 0, said[i][0], 0);
		answer_text(w.e, w.state, 1, "", i == 0 ? CWP_ANSWER_TOO_LONG : 0);
		finish_into(w.e, w.state, &kept);
		const struct kept_metric *m = metric_of(&kept, "exact_match");
		assert_int_equal(m->m.n, i == 0 ? 1 : 2);
		if ((item_of(m, "1")->value == 1) != (*said[i][1] == '1')) {
			fail_msg("%s: \"%s\" is wrongly judged", variant, said[i][0]);
		}
		assert_true(item_of(m, "1")->choice == (*said[i][1] == '1'));
		assert_string_equal(item_of(m, "1")->group, "sums");
		assert_string_equal(item_of(m, "1")->prompt, "3 + 4");
	}
	stop(&w);
}

static void test_bbh(void **state)
{
	(void)state;
	static const char *const cot[][2] = {{"Well. So the answer is (7).", "1"}, {"the answer is (7)", "0"}, {"the answer is (7)..", "0"},
		{"the answer is\nthe answer is (7).\nthe answer is 8.", "1"}, {"The answer is (7).", "0"}, {"the answer is \nthe answer is (7)!", "1"},
		{"the answer is 8. No, the answer is (7).", "0"}, {"the answer is (7)\xe3\x80\x82", "1"}, {"the answer is  (7) .", "1"},
		{"the answer is .", "0"}, {"(7)", "0"}, {"", "0"}, {NULL, NULL}};
	static const char *const direct[][2] = {{" (7)", "1"}, {"\n(7)\n", "1"}, {"7", "0"}, {"(7) or so", "0"}, {"", "0"}, {NULL, NULL}};
	static const char *const zeroshot[][2] = {{" (7)", "1"}, {"7.", "1"}, {"7 7", "0"}, {"", "0"}, {NULL, NULL}};
	write_bbh();
	check_bbh("variant=cot", "Add up.\n\nQ: 1 + 1\nA: Let's think step by step.\nOne and one. So the answer is 2.\n\nQ: 2 + 2\n"
		"A: Let's think step by step.\nNo, the answer is 5. Wait, the answer is 4.\n\nQ: 3 + 4\nA: Let's think step by step.\n", 1024, cot);
	check_bbh("variant=direct", "Add up.\n\nQ: 1 + 1\nA: 2\n\nQ: 2 + 2\nA: 4\n\nQ: 3 + 4\nA:", 256, direct);
	check_bbh("variant=zeroshot", "Add up.\n\nQ: 3 + 4\nA:", 256, zeroshot);
}

static void bbh_refused(int code, const char *words, const char *const *texts)
{
	struct at_work w;
	(void)snprintf(path, sizeof path, "%s/sums.json", folder);
	int r = start(&w, "bbh", 0, texts);
	if (r != code || strstr(host.failure, words) == NULL) {
		fail_msg("%d and \"%s\", not %d and \"%s\"", r, host.failure, code, words);
	}
	stop(&w);
}

#define BBH_REFUSED(code, words, ...) bbh_refused((code), (words), (const char *const[]){__VA_ARGS__, NULL})

static void test_bbh_bad(void **state)
{
	(void)state;
	write_bbh();
	BBH_REFUSED(-ENOENT, "prompts: ", "prompts=none");
	BBH_REFUSED(CWP_EVALUE, "is no name of a task", "task=a/b");
	write_file("prompts/odd.txt", "-----\nAdd up.\n");
	BBH_REFUSED(CWP_EFORMAT, "there is no question", "prompts=prompts", "task=odd");
	write_file("prompts/odd.txt", "-----\nAdd up.\n\nQ: 1 + 1\nA: 2\n");
	BBH_REFUSED(CWP_EFORMAT, "a question has no line", "prompts=prompts", "task=odd", "variant=direct");
	write_file("prompts/odd.txt", "-----\nAdd up.\n\nQ: 1 + 1\nA: Let's think step by step.\nTwo.\n");
	BBH_REFUSED(CWP_EFORMAT, "does not say what the answer is", "prompts=prompts", "task=odd", "variant=direct");
	write_file("sums.json", "{\"examples\": []}");
	BBH_REFUSED(CWP_EVALUE, "no question is in the file", "prompts=prompts");
	write_file("sums.json", "{\"examples\": [{\"input\": \"a\"}]}");
	BBH_REFUSED(CWP_EMISSING, "target: is missing", "prompts=prompts");
	write_file("sums.json", "{\"examples\": 3}");
	BBH_REFUSED(CWP_EFORMAT, "not an array of records", "prompts=prompts");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refusal),
		cmocka_unit_test(test_refusal_gcg),
		cmocka_unit_test(test_xstest),
		cmocka_unit_test(test_own_labels),
		cmocka_unit_test(test_harmbench),
		cmocka_unit_test(test_multijail),
		cmocka_unit_test(test_xsafety),
		cmocka_unit_test(test_judged),
		cmocka_unit_test(test_refusal_bad),
		cmocka_unit_test(test_odds),
		cmocka_unit_test(test_drift),
		cmocka_unit_test(test_windows),
		cmocka_unit_test(test_bbh),
		cmocka_unit_test(test_bbh_bad),
	};
	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
