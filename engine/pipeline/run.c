/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The stages in order, their records, and the end of a run. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "engine/format/manifest.h"
#include "engine/pipeline/benchmark.h"
#include "engine/pipeline/budget.h"
#include "engine/pipeline/carrier.h"
#include "engine/pipeline/device.h"
#include "engine/pipeline/evaluate.h"
#include "engine/pipeline/gate.h"
#include "engine/pipeline/masks.h"
#include "engine/pipeline/measured.h"
#include "engine/pipeline/cache.h"
#include "engine/pipeline/run.h"
#include "engine/pipeline/search.h"
#include "engine/plugin/settings.h"

static const char *const stage_name[CWE_STAGES] = {"plan", "open", "calibrate", "score", "select", "quantize", "write",
	"evaluate", "gate", "report"};

const char *cwe_stage_name(enum cwe_stage stage)
{
	return stage_name[stage];
}

/* Peak of the resident memory since the last call, where the kernel can tell, else since the start. */
static uint64_t peak_memory(void)
{
	uint64_t kib = 0;
	char line[256];
	FILE *f = fopen("/proc/self/status", "re");
	while (f != NULL && fgets(line, sizeof line, f) != NULL) {
		unsigned long long n;
		if (sscanf(line, "VmHWM: %llu", &n) == 1) {
			kib = n;
		}
	}
	if (f != NULL) {
		(void)fclose(f);
	}
	int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
	if (fd >= 0) {
		(void)!write(fd, "5", 1);
		(void)close(fd);
	}
	return kib * 1024;
}

void cwe_run_stage_end(struct cwe_run *run)
{
	struct timespec now;
	if (run->stage_start.tv_sec == 0 || run->records == CWE_STAGES) {
		return;
	}
	struct cwe_stage_record *r = &run->record[run->records];
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	r->seconds = (double)(now.tv_sec - run->stage_start.tv_sec) + 1e-9 * (double)(now.tv_nsec - run->stage_start.tv_nsec);
	r->peak_memory = peak_memory();
	run->records++;
	run->stage_start.tv_sec = 0;
}

void cwe_run_stage(struct cwe_run *run, enum cwe_stage stage)
{
	cwe_run_stage_end(run);
	if (run->records < CWE_STAGES) {
		run->record[run->records] = (struct cwe_stage_record){.stage = stage};
	}
	(void)clock_gettime(CLOCK_MONOTONIC, &run->stage_start);
	cwe_run_progress(run, stage, 0, 0, "");
}

void cwe_run_progress(struct cwe_run *run, enum cwe_stage stage, uint64_t done, uint64_t total, const char *unit)
{
	if (run->p->progress != NULL) {
		run->p->progress(run->p->arg, stage, done, total, unit);
	}
}

int cwe_run_place(struct cwb_err *err, int code, int line, int column, const char *field, const char *name)
{
	if (code != 0 && err != NULL && err->line == 0 && err->field[0] == '\0') {
		err->line = line;
		err->column = column;
		(void)snprintf(err->field, sizeof err->field, "%s%s%s", field, name[0] != '\0' ? "." : "", name);
	}
	return code;
}

int cwe_run_warn(struct cwe_run *run, struct cwb_err *err, const char *format, ...)
{
	struct cwb_err line = {0}; /* makes one clean line of it */
	char text[sizeof line.message];
	va_list args;
	va_start(args, format);
	(void)vsnprintf(text, sizeof text, format, args);
	va_end(args);
	(void)cwb_err_set(&line, CWP_EVALUE, "%s", text);
	return json_array_append_new(run->warnings, json_string(line.message)) == 0 ? 0
		: cwb_err_set(err, -ENOMEM, "no memory for a warning");
}

/* What the plan said, for whoever reads the log. */
static void log_warnings(const struct cwe_run *run)
{
	const struct cwp_host *host = &run->p->host->table;
	for (size_t i = 0; i < json_array_size(run->warnings); i++) {
		host->log(host->ctx, CWP_LOG_WARNING, json_string_value(json_array_get(run->warnings, i)));
	}
}

uint64_t cwe_run_layer_weights(const struct cwe_run *run, uint32_t layer)
{
	uint64_t n = 0;
	for (size_t i = run->layer_at[layer]; i < run->layer_at[layer + 1]; i++) {
		n += run->module[i].quantized ? run->module[i].rows * run->module[i].cols : 0;
	}
	return n;
}

int cwe_run_module_coded(const struct cwe_run_module *m)
{
	return m->quantized && !m->kept;
}

int cwe_run_may_protect(const struct cwe_run *run)
{
	return run->scorer != NULL || run->n_saved > 0;
}

int cwe_run_is_dense(const struct cwe_run *run)
{
	return run->job->has_protect && run->job->carrier == CWJ_CARRIER_DENSE;
}

uint64_t cwe_run_module_mask_bytes(const struct cwe_run_module *m)
{
	return m->rows * ((m->cols + 7) / 8);
}

uint64_t cwe_run_mask_bytes(const struct cwe_run *run)
{
	uint64_t most = 1;
	for (size_t i = 0; i < run->modules; i++) {
		uint64_t bytes = cwe_run_module_mask_bytes(&run->module[i]);
		most = bytes > most ? bytes : most;
	}
	return most;
}

const struct cwe_tensor *cwe_run_module_tensor(const struct cwe_run *run, const struct cwe_run_module *m)
{
	char name[CWE_MODULE_NAME_MAX + 8];
	(void)snprintf(name, sizeof name, "%s.weight", m->name);
	return cwe_weights_find(run->source->weights, name);
}

int cwe_run_module_read(const struct cwe_run *run, const struct cwe_run_module *m, uint64_t row, uint64_t rows, float *dst,
	struct cwb_err *err)
{
	return cwe_weights_read_f32(run->source->weights, cwe_run_module_tensor(run, m), row, rows, dst, err);
}

int cwe_run_cancelled(struct cwe_run *run, struct cwb_err *err)
{
	const struct cwp_host *host = &run->p->host->table;
	return host->cancelled(host->ctx) ? cwb_err_set(err, CWP_ECANCELLED, "cancelled") : 0;
}

void cwe_run_close(struct cwe_run *run)
{
	cwe_cache_close(run);
	cwe_corpus_free(&run->corpus);
	for (size_t i = 0; i < run->sets; i++) {
		cwe_samples_free(&run->set[i]);
	}
	free(run->set);
	free(run->item);
	run->p->host->calibrated = NULL;
	free(run->set_loss);
	free(run->set_sum);
	free(run->set_factor);
	free(run->set_value);
	free(run->module);
	free(run->layer_at);
	free(run->threshold);
	free(run->super);
	cwe_run_masks_close(run);
	cwe_companions_close(&run->several.open);
	cwe_device_close(&run->device);
	cwe_chat_free(run->chat);
	cwe_tokenizer_free(run->tokenizer);
	cwe_source_close(run->source);
	if (run->scorer != NULL) {
		cwe_settings_free(run->scorer->descriptor, run->scorer_settings);
	}
	if (run->quantizer != NULL) {
		cwe_settings_free(run->quantizer->descriptor, run->quantizer_settings);
	}
	json_decref(run->warnings);
	json_decref(run->unseen);
	json_decref(run->quantizer_notes);
	json_decref(run->inputs);
	json_decref(run->read);
	cwb_known_clear(&run->written);
	json_decref(run->asked.each);
	json_decref(run->evaluation);
	json_decref(run->flipped);
	cwe_measured_free(run->measured, run->measures);
	json_decref(run->gate);
	if (run->output_fd >= 0) {
		(void)close(run->output_fd);
	}
	if (run->scratch_fd >= 0) {
		(void)close(run->scratch_fd);
	}
}

static void note_read(void *arg, const char *path)
{
	struct cwe_run *run = arg;
	run->unlisted |= json_object_set_new(run->read, path, json_null()) != 0;
}

/* Evaluators run last; what is wrong with them is found first. What they read is known then. */
static int check_evaluators(struct cwe_run *run, struct cwb_err *err)
{
	int r = 0;
	if (run->job->n_evaluations > 0 && (run->read = json_object()) == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for the list of inputs");
	}
	run->p->host->reads = run->read != NULL ? note_read : NULL;
	run->p->host->reads_arg = run;
	for (size_t i = 0; r == 0 && i < run->job->n_evaluations; i++) {
		r = cwe_benchmark_check(run, &run->job->evaluations[i], err);
	}
	run->p->host->reads = NULL;
	return r == 0 && run->unlisted ? cwb_err_set(err, CWP_EVALUE, "a file that an evaluation reads cannot be listed: its name is not UTF-8, "
		"or memory is short") : r;
}

/* Scores on scratch that do not match their digests are made again, once. */
static int score_and_select(struct cwe_run *run, struct cwb_err *err)
{
	struct cwb_err first = {0};
	int r = run->scorer != NULL ? cwe_run_score(run, &first) : 0;
	r = r == 0 ? cwe_run_select(run, &first) : r;
	if (r != CWP_EDIGEST && !(r == -EIO && run->cached)) {
		return r == 0 ? 0 : (err != NULL ? (*err = first) : first).code;
	}
	const struct cwp_host *host = &run->p->host->table;
	(void)(cwe_cache_drop(run) && run->cached && cwb_err_prefix(&first, "cache: entry %.12s is removed", run->cache.key));
	host->log(host->ctx, CWP_LOG_WARNING, first.message);
	cwe_run_scratch_clear(run);
	run->records = 1;
	run->stage_start.tv_sec = 0;
	r = cwe_run_score(run, err);
	return r == 0 ? cwe_run_select(run, err) : r;
}

static int run_stages(struct cwe_run *run, struct cwb_err *err)
{
	int r;
	cwe_run_stage(run, CWE_STAGE_OPEN);
	if ((r = cwe_run_open(run, err)) != 0 || (r = cwe_run_samples(run, err)) != 0 ||
		(r = cwe_run_overlap(run, err)) != 0 || (r = check_evaluators(run, err)) != 0 ||
		(r = cwe_run_output_check(run, err)) != 0 ||
		(r = cwe_run_inputs(run, err)) != 0 || (r = cwe_cache_open(run, err)) != 0 ||
		(r = cwe_run_budget(run, err)) != 0 || (r = cwe_run_bounds(run, &run->bounds, err)) != 0 ||
		(r = cwe_run_output_open(run, err)) != 0) {
		return r;
	}
	if (run->ended) {
		return 0;
	}
	cwe_run_device_log(run);
	log_warnings(run);
	if ((r = cwe_run_gpu_reserve(run, err)) != 0) {
		return r;
	}
	if ((r = score_and_select(run, err)) != 0 || (r = cwe_run_carrier(run, err)) != 0 ||
		(r = cwe_run_quantize(run, err)) != 0 ||
		(r = cwe_run_evaluate(run, err)) != 0 || (r = cwe_run_gate(run, err)) != 0) {
		return r;
	}
	cwe_run_stage(run, CWE_STAGE_REPORT);
	return cwe_run_report(run, err);
}

int cwe_pipeline_run(const struct cwe_pipeline *p, struct cwb_err *err)
{
	if (p->job->search && p->search == NULL) {
		return cwe_search_run(p, err);
	}
	struct cwe_run run = {.p = p, .job = p->job, .output_fd = -1, .scratch_fd = -1,
		.cache = {.store.folder = -1, .entry = -1, .claim = -1}};
	(void)peak_memory();
	int r = run_stages(&run, err);
	if (r == 0) {
		r = cwe_run_output_end(&run, err);
	} else {
		cwe_run_output_abandon(&run, r);
	}
	cwe_run_close(&run);
	return r;
}

/* How many weights will be protected; null where a size or a mask decides it. */
static json_t *planned_json(const struct cwe_run *run)
{
	if (run->budget.total > 0 || run->n_saved > 0) {
		return json_null();
	}
	return json_integer((json_int_t)(run->scorer != NULL ? cwe_fraction_count(run->job->fraction, run->weights) : 0));
}

static json_t *plan_json(const struct cwe_run *run)
{
	json_t *stages = json_array();
	for (int s = CWE_STAGE_OPEN; s < CWE_STAGES; s++) {
		int skipped = ((s == CWE_STAGE_CALIBRATE || s == CWE_STAGE_SCORE) && run->scorer == NULL) ||
			(s == CWE_STAGE_SELECT && run->scorer == NULL && run->n_saved == 0) ||
			(s == CWE_STAGE_EVALUATE && run->job->n_evaluations == 0) ||
			(s == CWE_STAGE_GATE && run->job->n_gates == 0);
		if (!skipped) {
			(void)json_array_append_new(stages, json_string(stage_name[s]));
		}
	}
	json_t *sets = json_array();
	for (size_t i = 0; i < run->sets; i++) {
		(void)json_array_append_new(sets, json_pack("{s:s,s:I,s:I,s:I,s:I}", "name", run->set[i].name, "samples",
			(json_int_t)run->set[i].count, "tokens", (json_int_t)run->set[i].tokens, "truncated",
			(json_int_t)run->set[i].truncated, "passed_over", (json_int_t)run->set[i].passed));
	}
	return json_pack("{s:o,s:o,s:{s:s,s:i,s:I,s:o,s:o,s:I},s:{s:I,s:I,s:I},s:s?,s:O?,s:o}", "stages", stages, "device",
		cwe_run_device_json(run), "sizes", "family",
		run->model.arch.family, "layers", (int)run->model.arch.layers, "weights", (json_int_t)run->weights, "protected",
		planned_json(run), "sets", sets,
		"tokens", (json_int_t)run->corpus.tokens, "bounds", "memory", (json_int_t)run->bounds.memory, "gpu_memory",
		(json_int_t)run->bounds.gpu_memory, "scratch", (json_int_t)run->bounds.scratch, "chat",
		run->chat != NULL ? cwe_chat_name(run->chat) : NULL, "evaluations", run->asked.each, "warnings",
		cwe_evaluation_warnings(run));
}

/* Sizes alone stand in for digests: a plan reads no weights. */
static int input_sizes(struct cwe_run *run, struct cwb_err *err)
{
	run->inputs = json_object();
	for (size_t i = 0; i < run->job->n_evaluations; i++) {
		const char *path = run->job->evaluations[i].path;
		struct stat st;
		if (stat(path, &st) != 0) {
			return cwb_err_errno(err, "evaluate %s: %s", run->job->evaluations[i].name, path);
		}
		if (!S_ISREG(st.st_mode)) {
			return cwb_err_set(err, CWP_EFORMAT, "evaluate %s: %s is not a regular file", run->job->evaluations[i].name, path);
		}
		if (json_object_set_new(run->inputs, path, json_pack("{s:I}", "size", (json_int_t)st.st_size)) != 0) {
			return cwb_err_set(err, -ENOMEM, "no memory for the list of inputs");
		}
	}
	return 0;
}

int cwe_pipeline_plan(const struct cwe_pipeline *p, json_t **ret, struct cwb_err *err)
{
	struct cwe_run run = {.p = p, .job = p->job, .output_fd = -1, .scratch_fd = -1,
		.cache = {.store.folder = -1, .entry = -1, .claim = -1}};
	int r;
	if ((r = cwe_run_output_check(&run, err)) == 0 && (r = cwe_run_open(&run, err)) == 0 &&
		(r = cwe_run_samples(&run, err)) == 0 && (r = cwe_run_overlap(&run, err)) == 0 &&
		(r = check_evaluators(&run, err)) == 0 &&
		(r = input_sizes(&run, err)) == 0 && (r = cwe_run_budget(&run, err)) == 0 && (r = cwe_run_bounds(&run, &run.bounds, err)) == 0) {
		*ret = plan_json(&run);
		r = *ret != NULL && json_object_set_new(*ret, "gate", cwe_gate_plan(p->job->gates, p->job->n_gates)) == 0 ? 0 : cwb_err_set(err, -ENOMEM, "no memory for the plan");
	}
	cwe_run_close(&run);
	return r;
}
