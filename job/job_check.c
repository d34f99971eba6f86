/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Defaults of a job, and the rules that concern several of its keys. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "job/job_check.h"
#include "job/job_table.h"
#include "job/schema_value.h"

/* Not yet given: neither a kind of gate nor a rule for utility sets has this number. */
#define UNSET 0xffffu

/* A path is told from a name by what no name has. */
static int is_path(const char *text)
{
	size_t n = strlen(text);

	return strchr(text, '/') != NULL || (n > 5 && strcmp(text + n - 5, ".json") == 0);
}

static int chat_read(
	struct cwj_reader *r, const struct cwj_key *key, const struct cwj_yaml *node, void *target)
{
	struct cwj_chat *chat = target;
	struct cwj_key value = {.name = key->name,
		.kind = CWJ_TEXT,
		.offset = offsetof(struct cwj_chat, format),
		.high = 40,
		.remedy = key->remedy};

	chat->line = node->line;
	chat->column = node->column;
	if (node->kind == CWJ_YAML_SCALAR && is_path(node->text)) {
		value.kind = CWJ_PATH;
		value.high = 0;
	}
	int rc = cwj_value_read(r, &value, node, target);
	if (rc == 0 && value.kind == CWJ_TEXT &&
		strspn(chat->format, "abcdefghijklmnopqrstuvwxyz0123456789.-") !=
			strlen(chat->format)) {
		rc = cwj_fail(
			r, node, CWP_EVALUE, "\"%.40s\" is no name; %s", chat->format, key->remedy);
	}
	return rc;
}

static int chat_json(json_t *object, const struct cwj_key *key, const void *target)
{
	const struct cwj_chat *chat = target;

	if (chat->format == NULL) {
		return 0;
	}
	return json_object_set_new(object, key->name, json_string(chat->format)) < 0 ? -ENOMEM : 0;
}

static void chat_free(void *target)
{
	struct cwj_chat *chat = target;

	free(chat->format);
	chat->format = NULL;
}

const struct cwj_custom cwj_chat_format = {.read = chat_read, .json = chat_json, .free = chat_free};

static int gate_limit_read(
	struct cwj_reader *r, const struct cwj_key *key, const struct cwj_yaml *node, void *target)
{
	struct cwj_gate *gate = target;
	struct cwj_key number = {.name = key->name,
		.kind = CWJ_NUMBER,
		.least = key->least,
		.most = key->most,
		.remedy = "write a number such as 1.05"};

	if ((unsigned)gate->kind != UNSET) {
		return cwj_fail(r, node, CWP_EVALUE,
			"is a second limit of this gate; write one gate for each");
	}
	gate->kind = (enum cwj_gate_kind)key->tag;
	number.offset = offsetof(struct cwj_gate, value);
	return cwj_value_read(r, &number, node, target);
}

static int gate_limit_json(json_t *object, const struct cwj_key *key, const void *target)
{
	const struct cwj_gate *gate = target;

	if ((unsigned)gate->kind != key->tag) {
		return 0;
	}
	return json_object_set_new(object, key->name, json_real(gate->value)) < 0 ? -ENOMEM : 0;
}

const struct cwj_custom cwj_gate_limit = {.read = gate_limit_read, .json = gate_limit_json};

static int gate_confidence_read(
	struct cwj_reader *r, const struct cwj_key *key, const struct cwj_yaml *node, void *target)
{
	struct cwj_key number = {.name = key->name,
		.kind = CWJ_NUMBER,
		.least = key->least,
		.most = key->most,
		.remedy = "write a number from 0.5 to 0.9999, such as 0.95"};
	return cwj_value_read(r, &number, node, target);
}

static int gate_confidence_json(json_t *object, const struct cwj_key *key, const void *target)
{
	double confidence = *(const double *)target;

	if (confidence <= 0) {
		return 0;
	}
	return json_object_set_new(object, key->name, json_real(confidence)) < 0 ? -ENOMEM : 0;
}

const struct cwj_custom cwj_gate_confidence = {
	.read = gate_confidence_read, .json = gate_confidence_json};

void cwj_gate_fill(void *target)
{
	struct cwj_gate *gate = target;

	gate->kind = (enum cwj_gate_kind)UNSET;
}

int cwj_gate_check(struct cwj_reader *r, const struct cwj_yaml *node, void *target)
{
	struct cwj_gate *gate = target;

	if ((unsigned)gate->kind == UNSET) {
		return cwj_fail(r, node, CWP_EMISSING,
			"has no limit; write one of: at-most, at-least, at-most-times, "
			"worse-by-at-most, not-worse-by");
	}
	if (gate->kind != CWJ_GATE_NOT_WORSE_BY && gate->confidence > 0) {
		return cwj_fail(r, node, CWP_EVALUE,
			"confidence: belongs to not-worse-by alone; the other limits compare values");
	}
	if (gate->kind == CWJ_GATE_NOT_WORSE_BY) {
		gate->confidence = gate->confidence > 0 ? gate->confidence : 0.95;
		if (gate->value < 0) {
			return cwj_fail(r, node, CWP_EVALUE,
				"not-worse-by: %g is negative; write 0 or more", gate->value);
		}
	}
	if (gate->kind == CWJ_GATE_WORSE_BY_AT_MOST && gate->value < 0) {
		return cwj_fail(r, node, CWP_EVALUE,
			"worse-by-at-most: %g is negative; write 0 or more", gate->value);
	}
	return 0;
}

int cwj_backend_is_known(const char *text)
{
	static const char uuid[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-";

	if (strcmp(text, "auto") == 0 || strcmp(text, "cpu") == 0 || strcmp(text, "cuda") == 0) {
		return 1;
	}
	return strncmp(text, "cuda:", 5) == 0 && text[5] != '\0' &&
	       strspn(text + 5, uuid) == strlen(text + 5) && strlen(text + 5) < 64;
}

int cwj_backend_check(struct cwj_reader *r, const struct cwj_yaml *node, const void *target)
{
	static const char *const backends[] = {"auto", "cpu", "cuda", "cuda:GPU-UUID"};
	const char *text = ((const struct cwj_draft *)target)->job.backend;

	if (cwj_backend_is_known(text)) {
		return 0;
	}
	return cwj_fail_name(r, node, "a backend", backends, 4, sizeof(backends[0]));
}

void cwj_job_fill(void *target)
{
	struct cwj_job *job = &((struct cwj_draft *)target)->job;

	job->utility = (enum cwj_utility)UNSET;
	job->beta = 1.0;
	job->limits.gpus = 1;
	job->super_weights = 1;
	job->shard = UINT64_C(5000000000);
}

static int fill_texts(struct cwj_reader *r, const struct cwj_yaml *node, struct cwj_job *job)
{
	if (job->backend == NULL) {
		job->backend = strdup("auto");
	}
	if (job->skip == NULL) {
		job->skip = calloc(1, sizeof(char *));
		if (job->skip != NULL) {
			job->skip[0] = strdup("lm_head");
			job->n_skip = job->skip[0] != NULL;
		}
	}
	if (job->backend == NULL || job->skip == NULL ||
		(job->n_skip == 1 && job->skip[0] == NULL)) {
		return cwj_fail(r, node, -ENOMEM, "no memory for its defaults");
	}
	return 0;
}

/* The index of the first set or evaluation with this name, or `count`. */
static size_t find_name(const char *name, const char *const *first, size_t count, size_t stride)
{
	size_t i = 0;

	while (i < count &&
		strcmp(*(const char *const *)((const char *)first + i * stride), name) != 0) {
		i++;
	}
	return i;
}

int cwj_job_fail_at(
	struct cwj_reader *r, const struct cwj_yaml *node, const char *section, const char *key, const char *what)
{
	size_t mark = cwj_enter(r, section);
	(void)cwj_enter(r, key);
	int rc = cwj_fail(r, cwj_yaml_get(cwj_yaml_get(node, section), key), CWP_EVALUE, "%s", what);

	cwj_leave(r, mark);
	return rc;
}

static int fail_repeated(struct cwj_reader *r, const struct cwj_yaml *node, const char *list,
	size_t i, int first_line)
{
	const struct cwj_yaml *element = node->values[i], *name = cwj_yaml_get(element, "name");
	size_t mark = cwj_enter(r, list);
	size_t inner = cwj_enter_index(r, i);

	(void)cwj_enter(r, "name");
	int rc = cwj_fail(r, name, CWP_EVALUE,
		"\"%s\" is already the name of the one in line %d; choose another", name->text,
		first_line);
	cwj_leave(r, inner);
	cwj_leave(r, mark);
	return rc;
}

/* Set names are unique over critical and utility sets: reports and file names use them alone. */
static int check_set_names(
	struct cwj_reader *r, const struct cwj_yaml *node, const struct cwj_draft *d)
{
	const struct cwj_yaml *calibrate = cwj_yaml_get(node, "calibrate");

	for (size_t i = 0; i < d->n_critical; i++) {
		const char *const *first = (const char *const *)&d->critical[0].name;
		size_t j = find_name(d->critical[i].name, first, i, sizeof(*d->critical));
		if (j < i) {
			return fail_repeated(r, cwj_yaml_get(calibrate, "critical"),
				"calibrate.critical", i, d->critical[j].line);
		}
	}
	for (size_t i = 0; i < d->n_utility; i++) {
		const char *const *utility = (const char *const *)&d->utility[0].name;
		size_t j = find_name(d->utility[i].name, utility, i, sizeof(*d->utility));
		int line = j < i ? d->utility[j].line : 0;
		for (size_t k = 0; line == 0 && k < d->n_critical; k++) {
			line = strcmp(d->critical[k].name, d->utility[i].name) == 0
				       ? d->critical[k].line
				       : 0;
		}
		if (line != 0) {
			return fail_repeated(r, cwj_yaml_get(calibrate, "utility"),
				"calibrate.utility", i, line);
		}
	}
	return 0;
}

static int check_evaluation_names(
	struct cwj_reader *r, const struct cwj_yaml *node, const struct cwj_job *job)
{
	for (size_t i = 0; i < job->n_evaluations; i++) {
		const char *const *first = (const char *const *)&job->evaluations[0].name;
		size_t j = find_name(job->evaluations[i].name, first, i, sizeof(*job->evaluations));
		if (j < i) {
			return fail_repeated(r, cwj_yaml_get(node, "evaluate"), "evaluate", i,
				job->evaluations[j].line);
		}
	}
	return 0;
}

/* A gate's metric begins with the name of an evaluation of this job. */
static int check_gate_metric(
	struct cwj_reader *r, const struct cwj_yaml *node, const struct cwj_job *job, size_t i)
{
	const struct cwj_yaml *metric =
		cwj_yaml_get(cwj_yaml_get(node, "gate")->values[i], "metric");
	const char *dot = strchr(metric->text, '.');

	if (dot == NULL || dot == metric->text || dot[1] == '\0') {
		return cwj_fail(r, metric, CWP_EVALUE,
			"\"%.64s\" names no metric; write <name of an evaluation>.<metric>, such "
			"as bias.pct_stereotype",
			metric->text);
	}
	if (job->n_evaluations == 0) {
		return cwj_fail(
			r, metric, CWP_EMISSING, "a gate needs an evaluation; add evaluate");
	}
	char *name = strndup(metric->text, (size_t)(dot - metric->text));
	if (name == NULL) {
		return cwj_fail(r, metric, -ENOMEM, "no memory for its name");
	}
	const char *const *first = (const char *const *)&job->evaluations[0].name;
	int rc = 0;
	if (find_name(name, first, job->n_evaluations, sizeof(*job->evaluations)) ==
		job->n_evaluations) {
		struct cwj_yaml part = {.kind = CWJ_YAML_SCALAR,
			.line = metric->line,
			.column = metric->column,
			.text = name};
		rc = cwj_fail_name(r, &part, "an evaluation of this job", first, job->n_evaluations,
			sizeof(*job->evaluations));
	}
	free(name);
	return rc;
}

static int check_gates(struct cwj_reader *r, const struct cwj_yaml *node, const struct cwj_job *job)
{
	for (size_t i = 0; i < job->n_gates; i++) {
		size_t mark = cwj_enter(r, "gate");
		(void)cwj_enter_index(r, i);
		(void)cwj_enter(r, "metric");
		int rc = check_gate_metric(r, node, job, i);
		cwj_leave(r, mark);
		if (rc < 0) {
			return rc;
		}
	}
	return 0;
}

/* Protection needs scores, scores need sets that count. */
static int check_stages(
	struct cwj_reader *r, const struct cwj_yaml *node, const struct cwj_draft *d)
{
	const struct cwj_job *job = &d->job;

	if (d->has_calibrate && d->n_critical + d->n_utility == 0) {
		size_t mark = cwj_enter(r, "calibrate");
		int rc = cwj_fail(r, cwj_yaml_get(node, "calibrate"), CWP_EMISSING,
			"has no sets; list some below critical or utility, or remove it");
		cwj_leave(r, mark);
		return rc;
	}
	if (job->has_score && !d->has_calibrate) {
		return cwj_fail_missing(r, cwj_yaml_get(node, "score"), "calibrate",
			"a score is computed from calibration sets");
	}
	if (job->has_score && d->n_critical == 0 && job->utility != CWJ_UTILITY_ADD) {
		return cwj_fail_missing(r, cwj_yaml_get(node, "score"), "calibrate.critical",
			"utility sets alone give a score only with utility: add");
	}
	if (job->has_protect && job->scope == CWJ_SCOPE_ROW && job->unit != CWJ_UNIT_WEIGHT) {
		return cwj_job_fail_at(r, node, "protect", "unit",
			"with scope: row every row has a threshold of its own, which divides single weights only: use unit: weight, or "
			"scope: global or layer");
	}
	if (job->has_score && cwj_job_selects(job) && job->scale_pilot && (job->scope != CWJ_SCOPE_GLOBAL || job->unit != CWJ_UNIT_WEIGHT ||
			job->combine == CWJ_COMBINE_RANK || job->bits > 0 || job->bytes > 0)) {
		return cwj_job_fail_at(r, node, "score", "scale",
			"pilot keeps only the weights that may still be among the most important of the model: it goes with combine: mean or "
			"reference, scope: global, unit: weight and a fraction; else use scale: exact");
	}
	if (cwj_job_selects(job) && !job->has_score) {
		return cwj_fail_missing(r, cwj_yaml_get(node, "protect"), "score",
			"what to protect is chosen by a score: score: {plugin: fisher}");
	}
	return 0;
}

/* Samples are divided among GPUs alone; whether there are as many is known where they are. */
static int check_gpus(struct cwj_reader *r, const struct cwj_yaml *node, const struct cwj_job *job)
{
	char what[160];

	if (job->limits.gpus == 1 || strcmp(job->backend, "cpu") != 0) {
		return 0;
	}
	(void)snprintf(what, sizeof(what),
		"%" PRIu32 " GPUs are asked for, but backend: cpu uses none; write backend: cuda, or remove it", job->limits.gpus);
	return cwj_job_fail_at(r, node, "limits", "gpus", what);
}

int cwj_job_check(struct cwj_reader *r, const struct cwj_yaml *node, void *target)
{
	struct cwj_draft *d = target;
	int rc = fill_texts(r, node, &d->job);

	if ((unsigned)d->job.utility == UNSET) {
		d->job.utility = d->job.combine == CWJ_COMBINE_REFERENCE ? CWJ_UTILITY_SUBTRACT
									 : CWJ_UTILITY_ADD;
	}
	if (rc == 0) {
		rc = check_gpus(r, node, &d->job);
	}
	if (rc == 0) {
		rc = cwj_job_paths_check(r, node, d);
	}
	if (rc == 0) {
		rc = check_set_names(r, node, d);
	}
	if (rc == 0) {
		rc = cwj_job_protect_check(r, node, d);
	}
	if (rc == 0) {
		rc = cwj_fraction_check(r, node, d);
	}
	if (rc == 0) {
		rc = check_stages(r, node, d);
	}
	if (rc == 0) {
		rc = check_evaluation_names(r, node, &d->job);
	}
	return rc == 0 ? check_gates(r, node, &d->job) : rc;
}
