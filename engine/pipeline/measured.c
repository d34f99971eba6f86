/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The outcomes of items, kept until the end of a run and written beside its report. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "engine/format/manifest.h"
#include "engine/pipeline/benchmark.h"
#include "engine/pipeline/measured.h"
#include "engine/pipeline/pairs.h"

static const char *const model_name[CWE_COMPARED] = {"original", "quantized", "protected"};
static const char *const form_name[] = {"other", "mean", "exp-mean"};

int cwe_run_keep_outcomes(struct cwe_run *run, struct cwe_benchmark *b)
{
	struct cwe_measured *more = realloc(run->measured, (run->measures + 1) * sizeof *more);
	if (more == NULL) {
		return -ENOMEM;
	}
	run->measured = more;
	struct cwe_measured m = {.name = strdup(b->job->name), .benchmark = strdup(b->job->benchmark)};
	const char *digest = json_string_value(json_object_get(json_object_get(run->inputs, b->job->path), "sha256"));
	if (m.name == NULL || m.benchmark == NULL) {
		free(m.name);
		free(m.benchmark);
		return -ENOMEM;
	}
	(void)snprintf(m.data, sizeof m.data, "%s", digest != NULL ? digest : "");
	m.outcomes = b->outcomes;
	memset(&b->outcomes, 0, sizeof b->outcomes);
	run->measured[run->measures++] = m;
	return 0;
}

void cwe_measured_free(struct cwe_measured *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(list[i].name);
		free(list[i].benchmark);
		cwe_outcomes_free(&list[i].outcomes);
	}
	free(list);
}

static int write_line(FILE *f, json_t *json)
{
	size_t length = 0;
	char *text = json != NULL ? cwb_json_text(json, JSON_COMPACT | JSON_PRESERVE_ORDER, &length) : NULL;
	int r = text == NULL ? -ENOMEM : fwrite(text, 1, length, f) == length && fputc('\n', f) != EOF ? 0 : -EIO;
	free(text);
	json_decref(json);
	return r;
}

static json_t *metric_model(const struct cwe_metric_record *m, size_t k)
{
	return !m->filled[k] ? json_null() : json_pack("{s:I,s:o,s:o,s:o,s:o}", "n", (json_int_t)m->n[k], "value", cwb_json_finite(m->value[k]),
		"low", cwb_json_finite(m->low[k]), "high", cwb_json_finite(m->high[k]), "standard_error", cwb_json_finite(m->error[k]));
}

static int write_item(FILE *f, const struct cwe_pair *pair)
{
	const struct cwe_outcome *any = NULL;
	json_t *line = json_object();
	for (size_t k = CWE_COMPARED; k-- > 0;) {
		any = pair->of[k] != NULL ? pair->of[k] : any;
	}
	(void)json_object_set_new(line, "id", json_string(any->id));
	(void)json_object_set_new(line, "group", any->group != NULL ? json_string(any->group) : json_null());
	for (size_t k = 0; k < CWE_COMPARED; k++) {
		const struct cwe_outcome *o = pair->of[k];
		(void)json_object_set_new(line, model_name[k],
			o == NULL ? json_null() : json_pack("[o,o,I]", cwb_json_finite(o->value), cwb_json_finite(o->weight), (json_int_t)o->choice));
	}
	return write_line(f, line);
}

static int write_metric(FILE *f, const struct cwe_measured *e, const struct cwe_metric_record *m)
{
	struct cwe_pair *pair = NULL;
	size_t n = 0;
	int r = cwe_pairs_match((const struct cwe_outcome *const *)m->item, m->items, &pair, &n);
	if (r != 0) {
		return r;
	}
	r = write_line(f, json_pack("{s:s,s:s,s:s,s:s,s:s?,s:s,s:i,s:o,s:o,s:o,s:o,s:I}", "name", e->name, "benchmark", e->benchmark, "data",
		e->data, "metric", m->name, "group", m->group, "form", form_name[m->form], "direction", (int)m->direction, "ideal",
		cwb_json_finite(m->ideal), model_name[0], metric_model(m, 0), model_name[1], metric_model(m, 1), model_name[2], metric_model(m, 2),
		"items", (json_int_t)n));
	for (size_t i = 0; r == 0 && i < n; i++) {
		r = write_item(f, &pair[i]);
	}
	free(pair);
	return r;
}

static int write_all(const struct cwe_run *run, FILE *f)
{
	int r = write_line(f, json_pack("{s:i,s:I,s:b}", "version", 1, "seed", (json_int_t)run->job->seed, "protecting", run->protecting));
	for (size_t i = 0; r == 0 && i < run->measures; i++) {
		const struct cwe_measured *e = &run->measured[i];
		for (size_t k = 0; r == 0 && k < e->outcomes.metrics; k++) {
			r = write_metric(f, e, &e->outcomes.metric[k]);
		}
	}
	return r;
}

int cwe_measured_write(const struct cwe_run *run, int folder, struct cwb_err *err)
{
	struct cwb_file_temp temp;
	int r = cwb_file_temp_open(folder, CWE_OUTCOMES_FILE, 0644, &temp, err);
	if (r != 0) {
		return r;
	}
	int fd = dup(temp.fd);
	FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
	r = f != NULL ? write_all(run, f) : -EIO;
	if (f != NULL) {
		r = fclose(f) != 0 && r == 0 ? -EIO : r;
	} else if (fd >= 0) {
		(void)close(fd);
	}
	if (r == 0) {
		return cwb_file_temp_commit(&temp, err);
	}
	cwb_file_temp_abort(&temp);
	return cwb_err_set(err, r, r == -ENOMEM ? "no memory for " CWE_OUTCOMES_FILE : CWE_OUTCOMES_FILE " cannot be written");
}
