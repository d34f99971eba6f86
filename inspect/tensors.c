/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Verbs that write tensors: logits, statistics. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "engine/calibrate/loglik.h"
#include "engine/calibrate/parameters.h"
#include "engine/format/safetensors_writer.h"
#include "engine/text/samples.h"
#include "inspect/inspect.h"

/* A file of tensors in the making, found by name. */
struct tensors {
	struct cwe_safetensors_plan *plan;
	char **name;
	size_t count;
	struct cwe_safetensors_writer *writer;
	int folder;
};

static int add_tensor(struct tensors *t, const char *name, uint64_t rows, uint64_t cols, struct cwb_err *err)
{
	struct cwe_safetensors_plan *plan = realloc(t->plan, (t->count + 1) * sizeof *plan);
	if (plan != NULL) {
		t->plan = plan;
	}
	char **names = realloc(t->name, (t->count + 1) * sizeof *names);
	if (names != NULL) {
		t->name = names;
	}
	char *copy = strdup(name);
	if (plan == NULL || names == NULL || copy == NULL) {
		free(copy);
		return cwb_err_set(err, -ENOMEM, "no memory for the list of tensors");
	}
	names[t->count] = copy;
	plan[t->count++] = (struct cwe_safetensors_plan){.name = copy, .dtype = CWE_DTYPE_F32, .rank = cols > 0 ? 2 : 1,
		.shape = {rows, cols}};
	return 0;
}

static int open_tensors(struct tensors *t, const char *path, struct cwb_err *err)
{
	const char *slash = strrchr(path, '/');
	char folder[PATH_MAX] = ".";
	if (slash != NULL && (size_t)(slash - path) + 2 > sizeof folder) {
		return cwb_err_set(err, -ENAMETOOLONG, "--out: the path is longer than %zu bytes", sizeof folder);
	}
	if (slash != NULL) {
		(void)snprintf(folder, sizeof folder, "%.*s/", (int)(slash - path), path);
	}
	t->folder = open(folder, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	if (t->folder < 0) {
		return cwb_err_errno(err, "--out: %s", path);
	}
	/* The list is freed by close_tensors; the analyzer loses it in this call.
	 * NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
	return cwe_safetensors_writer_new(t->folder, slash != NULL ? slash + 1 : path, 0, t->plan, t->count, NULL, 0,
		&t->writer, NULL, err);
}

/* An unfinished file is removed: nothing is left half written. */
static void close_tensors(struct tensors *t)
{
	if (t->writer != NULL) {
		cwe_safetensors_writer_discard(t->writer);
	}
	cwe_safetensors_writer_free(t->writer);
	for (size_t i = 0; i < t->count; i++) {
		free(t->name[i]);
	}
	free(t->name);
	free(t->plan);
	if (t->folder >= 0) {
		(void)close(t->folder);
	}
}

static int publish(struct tensors *t, struct cwb_err *err)
{
	int r = cwe_safetensors_writer_publish(t->writer, err);
	if (r == 0) {
		cwe_safetensors_writer_free(t->writer);
		t->writer = NULL;
		r = cwb_file_sync_folder(t->folder, "--out", err);
	}
	return r;
}

static int take_logits(void *arg, uint64_t sequence, uint64_t tokens, uint64_t first, uint64_t n, const float *logits,
	struct cwb_err *err)
{
	struct tensors *t = arg;
	uint64_t v = t->plan[sequence].shape[1];
	int r = 0;
	for (uint64_t i = 0; r == 0 && i < tokens; i++) {
		r = cwe_safetensors_writer_write(t->writer, sequence, (i * v + first) * sizeof *logits, logits + i * n,
			n * sizeof *logits, err);
	}
	return r;
}

/* Lines of ids -> one sample a line. */
static int read_sequences(struct cwe_sample_set *set, const struct cwe_model *model, struct cwb_err *err)
{
	struct cwi_lines lines = {0};
	json_t *line;
	int r;
	while ((r = cwi_lines_next(&lines, &line, err)) == 1) {
		struct cwe_sample *more = realloc(set->sample, (set->count + 1) * sizeof *more);
		struct cwe_sequence *s = calloc(1, sizeof *s);
		set->sample = more != NULL ? more : set->sample;
		r = more != NULL && s != NULL ? cwi_ids_read(json_object_get(line, "ids"), "ids", lines.number, &s->id, &s->count, err)
					      : cwb_err_set(err, -ENOMEM, "no memory for ids");
		if (r == 0 && (s->count == 0 || s->count > model->arch.context)) {
			r = cwb_err_set(err, CWP_ELIMIT, "standard input:%zu: %zu tokens; the model takes 1 to %u", lines.number, s->count,
				model->arch.context);
		}
		json_decref(line);
		if (r != 0 || (s->weight = calloc(s->count, sizeof *s->weight)) == NULL) {
			if (s != NULL) {
				free(s->id);
			}
			free(s);
			r = r != 0 ? r : cwb_err_set(err, -ENOMEM, "no memory for ids");
			break;
		}
		set->sample[set->count++] = (struct cwe_sample){.sequence = s, .count = 1};
	}
	cwi_lines_free(&lines);
	return r;
}

int cwi_logits(const struct cwi_options *o)
{
	struct cwb_err err = {0};
	struct cwi_engine e;
	struct cwe_sample_set set = {0};
	struct cwe_corpus corpus = {0};
	struct tensors t = {.folder = -1};
	int r = cwi_engine_open(o, o->operand, &e, &err);
	if (r != 0) {
		return cwi_fail(&err);
	}
	r = read_sequences(&set, &e.model, &err);
	if (r == 0 && set.count == 0) {
		r = cwb_err_set(&err, CWP_EMISSING, "standard input holds no lines of {\"ids\"}");
	}
	for (size_t i = 0; r == 0 && i < set.count; i++) {
		char name[48];
		(void)snprintf(name, sizeof name, "logits.%zu", i);
		r = add_tensor(&t, name, set.sample[i].sequence->count, e.model.arch.vocabulary, &err);
	}
	if (r == 0 && (r = open_tensors(&t, o->out, &err)) == 0 && (r = cwe_corpus_new(&set, 1, 0, &corpus, &err)) == 0) {
		struct cwe_forward_options f = {.scratch = o->scratch, .memory = o->scratch != NULL ? 256u << 20 : UINT64_MAX};
		r = cwe_logits_run(&e.model, &corpus, &f, take_logits, &t, &err);
		r = r == 0 ? publish(&t, &err) : r;
	}
	close_tensors(&t);
	cwe_corpus_free(&corpus);
	cwe_samples_free(&set);
	cwi_engine_close(&e);
	return r == 0 ? 0 : cwi_fail(&err);
}

static int plan_statistic(void *arg, const char *name, uint64_t rows, uint64_t cols, const float *value, struct cwb_err *err)
{
	(void)value;
	return add_tensor(arg, name, rows, cols, err);
}

static int take_statistic(void *arg, const char *name, uint64_t rows, uint64_t cols, const float *value, struct cwb_err *err)
{
	struct tensors *t = arg;
	for (size_t i = 0; i < t->count; i++) {
		if (strcmp(t->name[i], name) == 0) {
			return cwe_safetensors_writer_write(t->writer, i, 0, value, rows * (cols > 0 ? cols : 1) * sizeof *value, err);
		}
	}
	return cwb_err_set(err, CWP_ESTATE, "statistic %s was not planned", name);
}

int cwi_statistics(const struct cwi_options *o)
{
	struct cwb_err err = {0};
	struct cwi_engine e;
	struct cwe_sample_set set = {0};
	struct cwe_corpus corpus = {0};
	struct tensors t = {.folder = -1};
	int r = cwi_engine_open(o, o->operand, &e, &err);
	if (r != 0) {
		return cwi_fail(&err);
	}
	if ((r = cwe_samples_read_file(o->samples, e.model.arch.context, e.model.arch.vocabulary, &set, &err)) == 0 &&
		(r = cwe_corpus_new(&set, 1, 0, &corpus, &err)) == 0 &&
		(r = cwe_parameters_list(&e.model, plan_statistic, &t, &err)) == 0 &&
		(r = open_tensors(&t, o->out, &err)) == 0 &&
		(r = cwe_parameters_run(&e.model, &corpus, o->scratch, take_statistic, &t, &err)) == 0) {
		r = publish(&t, &err);
	}
	close_tensors(&t);
	cwe_corpus_free(&corpus);
	cwe_samples_free(&set);
	cwi_engine_close(&e);
	return r == 0 ? 0 : cwi_fail(&err);
}
