/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Example of an evaluator: does a model know a word's opposite? Each row of a CSV file has an id, the beginning of a sentence, its
 * right end and a wrong one; `acc` is the share of rows whose right end is the likelier. See cwp-evaluator(7). */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <cwp/evaluator.h>

enum { ID, BEGIN, RIGHT, WRONG, COLUMNS };
static const char *const column[COLUMNS] = {"id", "begin", "right", "wrong"};
struct row {
	const char *text[COLUMNS]; /* of the host, as long as its records are open */
	double loglik[2];          /* of the right end, of the wrong one */
	int too_long;
};
struct set {
	const struct cwp_host *host;
	struct cwp_records *records;
	struct row *row;
	uint64_t count;
};
static void close_set(void *state)
{
	struct set *s = state;
	if (s != NULL)
		s->host->records_close(s->host->ctx, s->records);
	free(s != NULL ? s->row : NULL);
	free(s);
}
static int open_set(const struct cwp_host *host, const struct cwp_setting *settings, const char *path, const char *data,
	size_t length, uint64_t limit, void **ret_state)
{
	struct set *s = calloc(1, sizeof *s);
	(void)settings, (void)data, (void)length;
	if (s == NULL)
		return CWP_ELIMIT;
	s->host = host;
	int r = host->records_open(host->ctx, path, &(struct cwp_record_source){.size = sizeof(struct cwp_record_source)}, &s->records);
	uint64_t n = r == 0 ? host->records_count(host->ctx, s->records) : 0;
	s->row = calloc((size_t)n + 1, sizeof *s->row);
	r = r == 0 && s->row == NULL ? CWP_ELIMIT : r; /* the host has said what is wrong with the file */
	size_t bytes;
	for (uint64_t i = 0; r == 0 && i < COLUMNS * n; i++)
		r = host->records_need(host->ctx, s->records, i / COLUMNS, column[i % COLUMNS], &s->row[i / COLUMNS].text[i % COLUMNS], &bytes);
	s->count = limit > 0 && limit < n ? limit : n;
	for (uint64_t i = 0; r == 0 && s->count < n && i < s->count; i++) { /* the job's seed draws the rows of a limit */
		struct row *other = &s->row[i + host->random(host->ctx, 1, i) % (n - i)], drawn = *other;
		*other = s->row[i];
		s->row[i] = drawn;
	}
	*ret_state = r == 0 ? s : (close_set(s), NULL);
	return r;
}
static uint64_t count(void *state)
{
	return 2 * ((struct set *)state)->count;
}
static int request(void *state, uint64_t i, struct cwp_request *ret)
{
	const char *const *text = ((struct set *)state)->row[i / 2].text;
	ret->kind = CWP_REQUEST_LOGLIK;
	ret->item = text[ID];
	ret->context_length = strlen(ret->context = text[BEGIN]);
	ret->continuation_length = strlen(ret->continuation = text[i % 2 == 0 ? RIGHT : WRONG]);
	return 0;
}
static int answer(void *state, uint64_t i, const struct cwp_answer *a)
{
	struct row *row = &((struct set *)state)->row[i / 2];
	row->loglik[i % 2] = a->loglik;
	row->too_long |= (a->flags & CWP_ANSWER_TOO_LONG) != 0; /* for one model, for all */
	return 0;
}
static int finish(void *state, const struct cwp_metric_sink *sink)
{
	const struct set *s = state;
	struct cwp_metric acc = {.size = sizeof acc, .name = "acc", .direction = CWP_HIGHER_IS_BETTER, .ideal = 1, .form = CWP_FORM_MEAN,
		.standard_error = NAN, .low = NAN, .high = NAN}; /* the host makes the interval of the items */
	for (const struct row *p = s->row; p < s->row + s->count; acc.n += !p++->too_long)
		acc.value += !p->too_long && p->loglik[0] > p->loglik[1];
	acc.value = acc.n > 0 ? acc.value / (double)acc.n : NAN;
	sink->metric(sink->ctx, &acc);
	for (const struct row *p = s->row; p < s->row + s->count; p++) {
		struct cwp_item item = {.size = sizeof item, .id = p->text[ID], .value = p->loglik[0] > p->loglik[1], .weight = 1,
			.choice = p->loglik[0] > p->loglik[1] ? 0 : 1}; /* a flip is another choice than the original model's */
		if (!p->too_long)
			sink->item(sink->ctx, &item);
	}
	return 0;
}
static const struct cwp_evaluator evaluator = {sizeof evaluator, open_set, count, request, answer, finish, close_set};
static const void *get_interface(const char *id)
{
	return strcmp(id, CWP_EVALUATOR_INTERFACE) == 0 ? &evaluator : NULL;
}
CWP_PLUGIN_NOTE(CWP_KIND_EVALUATOR)
CWP_PLUGIN_EXPORT const struct cwp_plugin cwp_plugin = {sizeof cwp_plugin, CWP_ABI_MAJOR, CWP_ABI_MINOR, CWP_KIND_EVALUATOR, 0,
	"opposites", "1.0", "A. Author", "Apache-2.0", "whether a model knows a word's opposite", NULL, get_interface};
