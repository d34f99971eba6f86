/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Evaluator: how far a model has moved from the original. Each text is what a user says in the model's chat format (option
 * chat), or stands as it is, and the first token behind it is looked at:
 *   first_token_kl  mean over texts of the sum over the vocabulary of p log(p / q), p the original's distribution and q the
 *                   model's, in nats; 0 for the original itself
 *   top1_agreement  share of texts whose most likely first token is the original's
 * The definition is this project's own; that tools of quantizers call KL divergence is over all tokens of a text.
 * Data: any file with records, or a published set that the host knows; of safety sets the column of prompts is known. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <cwp/evaluator.h>

#include "plugins/evaluators/common/safe_set.h"
#include "plugins/evaluators/common/statistic.h"

enum { OPTION_SET, OPTION_COLUMN, OPTION_ID, OPTION_GROUP, OPTION_LANGUAGE, OPTION_CHAT, OPTIONS };

#define OPTION(type, name, standard, help) {sizeof(struct cwp_option), type, name, standard, NULL, NULL, help}

static const struct cwp_option options[OPTIONS] = {
	OPTION(CWP_OPTION_STRING, "set", "own", "which set the file is, as data in a job; own: a file of one's own"),
	OPTION(CWP_OPTION_STRING, "column", "", "column of the texts; of safety sets it is known"),
	OPTION(CWP_OPTION_STRING, "id", "", "column that names an item; where there is none, its number counts"),
	OPTION(CWP_OPTION_STRING, "group", "", "column of categories that are reported apart"),
	OPTION(CWP_OPTION_STRING, "language", "en",
		"language of the texts, for the report; column of MultiJail, of which all takes every one"),
	OPTION(CWP_OPTION_BOOL, "chat", "true", "put texts into the model's chat format"),
};

struct step {
	double kl;
	int agrees, missing;
};

struct drift {
	struct safe_set set;
	struct step *step; /* [set.count] */
	uint32_t flags;
};

static void close_drift(void *state)
{
	struct drift *x = state;
	if (x != NULL) {
		safe_set_close(&x->set);
		free(x->step);
		free(x);
	}
}

static int open_drift(const struct cwp_host *host, const struct cwp_setting *s, const char *path, const char *data, size_t length,
	uint64_t limit, void **ret_state)
{
	const struct safe_want want = {.set = s[OPTION_SET].string, .column = s[OPTION_COLUMN].string, .id = s[OPTION_ID].string,
		.group = s[OPTION_GROUP].string, .language = s[OPTION_LANGUAGE].string, .unlabelled = 1};
	struct drift *x = calloc(1, sizeof *x);
	(void)data, (void)length;
	if (x == NULL) {
		return -ENOMEM;
	}
	x->flags = s[OPTION_CHAT].integer != 0 ? CWP_REQUEST_CHAT : 0;
	int r = safe_set_open(host, &want, path, limit, &x->set);
	if (r == 0 && (x->step = calloc(x->set.count, sizeof *x->step)) == NULL) {
		r = -ENOMEM;
	}
	if (r != 0) {
		close_drift(x);
		return r;
	}
	*ret_state = x;
	return 0;
}

static uint64_t count(void *state)
{
	return ((struct drift *)state)->set.count;
}

static int request(void *state, uint64_t i, struct cwp_request *ret)
{
	const struct drift *x = state;
	ret->kind = CWP_REQUEST_DRIFT;
	ret->context = x->set.prompt[i].text;
	ret->context_length = x->set.prompt[i].length;
	ret->flags = x->flags;
	ret->item = x->set.prompt[i].id;
	return 0;
}

static int answer(void *state, uint64_t i, const struct cwp_answer *a)
{
	struct step *s = &((struct drift *)state)->step[i];
	*s = (struct step){.kl = a->kl, .agrees = a->greedy != 0, .missing = (a->flags & CWP_ANSWER_TOO_LONG) != 0};
	return 0;
}

/* One of the two metrics, with its items; value has room for all. */
static void give(const struct drift *x, const struct cwp_metric_sink *sink, struct cwp_metric *m, int agreement, double *value)
{
	size_t n = 0;
	double k = 0;
	for (size_t i = 0; i < x->set.count; i++) {
		if (!x->step[i].missing) {
			value[n] = agreement ? x->step[i].agrees : x->step[i].kl;
			k += value[n++];
		}
	}
	statistic_mean(value, n, m);
	if (agreement) {
		statistic_wilson(k, (double)n, &m->low, &m->high);
	} else {
		m->low = m->high = NAN; /* a normal interval of what is skewed would go below 0: the host resamples */
	}
	sink->metric(sink->ctx, m);
	for (size_t i = 0; i < x->set.count; i++) {
		const struct safe_prompt *p = &x->set.prompt[i];
		struct cwp_item item = {.size = sizeof item, .id = p->id, .weight = 1, .choice = -1,
			.group = *p->group != '\0' ? p->group : NULL, .value = agreement ? x->step[i].agrees : x->step[i].kl};
		if (!x->step[i].missing) {
			sink->item(sink->ctx, &item);
		}
	}
}

static int finish(void *state, const struct cwp_metric_sink *sink)
{
	const struct drift *x = state;
	double *value = calloc(x->set.count + 1, sizeof *value);
	if (value == NULL) {
		return -ENOMEM;
	}
	struct cwp_metric m = {.size = sizeof m, .name = "first_token_kl", .direction = CWP_LOWER_IS_BETTER, .ideal = 0,
		.form = CWP_FORM_MEAN};
	give(x, sink, &m, 0, value);
	m = (struct cwp_metric){.size = sizeof m, .name = "top1_agreement", .direction = CWP_HIGHER_IS_BETTER, .ideal = 1,
		.form = CWP_FORM_MEAN};
	give(x, sink, &m, 1, value);
	free(value);
	return 0;
}

static const struct cwp_evaluator evaluator = {sizeof(struct cwp_evaluator), open_drift, count, request, answer, finish, close_drift};

static const void *get_interface(const char *id)
{
	return strcmp(id, CWP_EVALUATOR_INTERFACE) == 0 ? &evaluator : NULL;
}

CWP_PLUGIN_NOTE(CWP_KIND_EVALUATOR)
CWP_PLUGIN_EXPORT const struct cwp_plugin cwp_plugin = {sizeof(struct cwp_plugin), CWP_ABI_MAJOR, CWP_ABI_MINOR,
	CWP_KIND_EVALUATOR, OPTIONS, "drift", CWP_PLUGIN_VERSION, "cwpd developers", "Apache-2.0",
	"drift from the original: KL divergence of the first token, and whether it is the same", options, get_interface};
