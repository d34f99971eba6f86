/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Stage report: report.json, report.html, and last the manifest that makes the output finished. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "engine/format/manifest.h"
#include "engine/format/dtype.h"
#include "engine/format/format.h"
#include "engine/pipeline/budget.h"
#include "engine/pipeline/carrier.h"
#include "engine/pipeline/device.h"
#include "engine/pipeline/measured.h"
#include "engine/pipeline/report.h"
#include "engine/pipeline/run.h"
#include "engine/pipeline/super.h"

static json_t *stages_json(const struct cwe_run *run)
{
	json_t *a = json_array();
	for (size_t i = 0; i < run->records; i++) {
		const struct cwe_stage_record *s = &run->record[i];
		(void)json_array_append_new(a, json_pack("{s:s,s:f,s:I,s:I}", "name", cwe_stage_name(s->stage), "seconds", s->seconds,
			"tokens", (json_int_t)s->tokens, "peak_memory_bytes", (json_int_t)s->peak_memory));
	}
	return a;
}

/* What each set contributed: its share of the total of all factors times importances. */
static json_t *sets_json(const struct cwe_run *run)
{
	json_t *a = json_array();
	double total = 0, raw = 0;
	for (size_t i = 0; i < run->sets; i++) {
		total += fabs(run->set_factor[i]) * run->set_value[i];
		raw += run->set_sum[i];
	}
	for (size_t i = 0; i < run->sets; i++) {
		double share = total > 0 ? fabs(run->set_factor[i]) * run->set_value[i] / total : 0;
		(void)json_array_append_new(a, json_pack("{s:s,s:s,s:I,s:I,s:I,s:I,s:o,s:f,s:f,s:f,s:f}", "name", run->set[i].name, "role",
			run->set[i].role == CWJ_ROLE_CRITICAL ? "critical" : "utility", "samples", (json_int_t)run->set[i].count,
			"tokens", (json_int_t)run->set[i].tokens, "truncated", (json_int_t)run->set[i].truncated, "passed_over",
			(json_int_t)run->set[i].passed, "loss",
			cwb_json_finite(run->scorer != NULL ? run->set_loss[i] : NAN), "total", run->set_sum[i],
			"factor", run->set_factor[i], "share", share, "raw_share", raw > 0 ? run->set_sum[i] / raw : 0.0));
	}
	return a;
}

/* The one threshold of scope global; those of scope layer come as a list, and rows have too many to be told. */
static json_t *threshold_json(const struct cwe_run *run)
{
	int one = run->protecting && run->threshold != NULL && run->job->scope == CWJ_SCOPE_GLOBAL;
	/* Infinite where super weights alone are protected. */
	return cwb_json_finite(one ? (double)run->threshold[0] : NAN);
}

static json_t *thresholds_json(const struct cwe_run *run)
{
	json_t *a = json_array();
	for (uint32_t l = 0; run->threshold != NULL && run->protecting && run->job->scope == CWJ_SCOPE_LAYER && l < run->model.arch.layers; l++) {
		/* Infinite where the share of a layer is less than one weight. */
		(void)json_array_append_new(a, cwb_json_finite((double)run->threshold[l]));
	}
	return a;
}

static json_t *protection_json(const struct cwe_run *run)
{
	json_t *modules = json_object(), *fallback = json_array();
	uint64_t total = 0, added = 0;
	for (size_t i = 0; i < run->modules; i++) {
		const struct cwe_run_module *m = &run->module[i];
		if (m->quantized) {
			(void)json_object_set_new(modules, m->name, json_integer((json_int_t)m->protected_weights));
			total += m->protected_weights;
			added += m->super_added;
		}
		if (m->quantized && m->grid.fallback) {
			(void)json_array_append_new(fallback, json_pack("{s:s,s:i}", "module", m->name, "group", (int)m->grid.group));
		}
	}
	/* What a budget made of it; with scope: global thresholds alone say it. */
	json_t *fraction = run->budget.total > 0 && run->job->scope == CWJ_SCOPE_GLOBAL ? json_null() : json_real(run->fraction);
	return json_pack("{s:I,s:I,s:I,s:o,s:o,s:o,s:o,s:o,s:I,s:f,s:o,s:o,s:o,s:o,s:O*,s:O*,s:o*,s:o*,s:o}", "weights",
		(json_int_t)run->weights, "protected", (json_int_t)total, "super_added", (json_int_t)added, "super_weights",
		cwe_run_super_json(run), "fraction", fraction, "threshold",
		threshold_json(run), "thresholds", thresholds_json(run), "scoring", cwe_report_scoring(run),
		"nonpositive", (json_int_t)run->nonpositive, "nonpositive_share",
		run->weights > 0 ? (double)run->nonpositive / (double)run->weights : 0.0, "sets", sets_json(run), "other_groups", fallback,
		"map", cwe_report_map(run), "top_modules", cwe_report_top(run), "unseen_experts", run->unseen, "quantized_otherwise", run->quantizer_notes,
		"adapter", cwe_run_adapter_json(run), "kept_modules", cwe_run_kept_json(run), "per_module", modules);
}

static json_t *size_json(const struct cwe_run *run, struct cwb_err *err)
{
	struct cwe_output_size size;
	uint64_t whole = 0;
	if (cwe_output_measure(run->job->output, &size, err) != 0) {
		return NULL;
	}
	/* Modules that the quantizer's codes are not kept of lie among the other tensors. */
	int dense = size.quantized_weights == 0;
	for (size_t i = 0; i < run->modules; i++) {
		const struct cwe_run_module *m = &run->module[i];
		const struct cwe_tensor *t = m->quantized && (m->kept || dense) ? cwe_run_module_tensor(run, m) : NULL;
		whole += t != NULL ? m->rows * m->cols * cwe_cwp_dtype_size(t->dtype) : 0;
	}
	whole = whole < size.other_bytes ? whole : size.other_bytes;
	uint64_t bytes = size.quantized_bytes + size.protected_bytes + whole;
	return json_pack("{s:I,s:I,s:I,s:I,s:f}", "quantized_bytes", (json_int_t)size.quantized_bytes, "protected_bytes",
		(json_int_t)size.protected_bytes, "whole_bytes", (json_int_t)whole, "other_bytes", (json_int_t)(size.other_bytes - whole),
		"bits_per_weight", run->weights > 0 ? 8.0 * (double)bytes / (double)run->weights : 0.0);
}

/* How many modules are quantized in which way. */
static json_t *schemes_json(const struct cwe_run *run)
{
	json_t *o = json_object();
	for (size_t i = 0; i < run->modules; i++) {
		char text[160];
		if (cwe_run_module_coded(&run->module[i])) {
			cwe_grid_text(&run->module[i].grid, text, sizeof text);
			(void)json_object_set_new(o, text, json_integer(json_integer_value(json_object_get(o, text)) + 1));
		}
	}
	return o;
}

static json_t *plugin_json(const struct cwe_plugin *p)
{
	return json_pack("{s:s,s:s,s:s,s:s}", "kind", cwe_kind_name(p->descriptor->kind), "id", p->descriptor->id, "version",
		p->descriptor->version, "build_id", p->build_id);
}

static json_t *plugins_json(const struct cwe_run *run)
{
	json_t *a = json_array();
	(void)json_array_append_new(a, plugin_json(run->quantizer));
	if (run->scorer != NULL) {
		(void)json_array_append_new(a, plugin_json(run->scorer));
	}
	(void)json_array_append_new(a, plugin_json(run->device.plugin));
	for (size_t i = 0; i < run->job->n_evaluations; i++) {
		const struct cwe_plugin *p;
		if (cwe_registry_find(run->p->registry, CWP_KIND_EVALUATOR, run->job->evaluations[i].benchmark, &p, NULL) == 0) {
			(void)json_array_append_new(a, plugin_json(p));
		}
	}
	return a;
}

static json_t *build(const struct cwe_run *run, json_t *size)
{
	const struct cwe_bounds *b = &run->bounds;
	char digest[65] = "";
	(void)cwj_job_digest(run->job, digest);
	return json_pack("{s:i,s:o,s:o,s:I,s:{s:I,s:I,s:I},s:b,s:s,s:o,s:o,s:O,s:O,s:O,s:O,s:b,s:s?,s:O,s:o,s:s,s:O*,s:o}", "version", CWE_REPORT_VERSION, "job",
		cwj_job_json(run->job), "stages", stages_json(run), "layer_passes", (json_int_t)run->passes, "bounds",
		"memory", (json_int_t)b->memory, "gpu_memory", (json_int_t)b->gpu_memory,
		"scratch", (json_int_t)b->scratch, "scores_cached", run->cached, "backend", run->device.ops->describe(run->device.b), "device",
		cwe_run_device_json(run), "protection",
		protection_json(run), "size", size, "evaluation", run->evaluation, "flipped", run->flipped, "gate", run->gate, "rejected", run->rejected,
		"chat", run->chat != NULL ? cwe_chat_name(run->chat) : NULL, "warnings", run->warnings, "schemes", schemes_json(run),
		"job_digest", digest, "inputs", run->inputs, "plugins", plugins_json(run));
}

/* What each set's importances were multiplied with: a mask follows from them and the scores. */
static json_t *factors_json(const struct cwe_run *run)
{
	json_t *o = json_object();
	for (size_t i = 0; i < run->sets; i++) {
		(void)json_object_set_new(o, run->set[i].name, json_real(run->set_factor[i]));
	}
	return o;
}

static int manifest_facts(const struct cwe_run *run, json_t *size, json_t **ret, struct cwb_err *err)
{
	char job[65];
	int r = cwj_job_digest(run->job, job);
	if (r != 0) {
		return cwb_err_set(err, r, "digest of the job");
	}
	uint64_t kept = 0, added = 0;
	for (size_t i = 0; i < run->modules; i++) {
		kept += run->module[i].protected_weights;
		added += run->module[i].super_added;
	}
	*ret = json_pack("{s:i,s:s,s:O,s:o,s:s,s:o,s:I,s:{s:I,s:I,s:I,s:O},s:o,s:b,s:o,s:o*}", "version", 1, "job_digest", job, "inputs",
		run->inputs, "plugins", plugins_json(run), "backend", run->device.ops->describe(run->device.b), "device", cwe_run_device_json(run), "seed",
		(json_int_t)run->job->seed, "counts", "weights", (json_int_t)run->weights, "protected", (json_int_t)kept,
		"super_added", (json_int_t)added, "bits_per_weight", json_object_get(size, "bits_per_weight"), "super_weights",
		cwe_run_super_json(run), "rejected", run->rejected, "factors", factors_json(run), "kept_modules", cwe_run_kept_json(run));
	return *ret != NULL ? 0 : cwb_err_set(err, -ENOMEM, "no memory for the manifest");
}

/* Room for what is not known before the end: names, sizes and digests of files in the manifest; times, counts and bars of
 * layers in the reports; metrics. */
#define ROOM_FILE 320u
#define ROOM_MODULE 32u
#define ROOM_NOTE 700u
#define ROOM_LAYER 480u
#define ROOM_EVALUATION (64u << 10)
#define ROOM_GATE 2048u
#define ROOM_SET 512u
#define ROOM_TOP 5120u /* the modules protected most, in both reports */
#define ROOM_REST (8u << 10)

static uint64_t room(const struct cwe_run *run, size_t n_files)
{
	return n_files * ROOM_FILE + run->modules * (ROOM_MODULE + (run->quantizer_needs != 0 ? ROOM_NOTE : 0)) + run->model.arch.layers * ROOM_LAYER + run->job->n_evaluations * ROOM_EVALUATION +
		run->job->n_gates * ROOM_GATE + run->sets * ROOM_SET + ROOM_TOP + ROOM_REST;
}

enum rendering { JSON_TEXT, PAGE, CARD };

/* Bytes of a text of JSON, or of the page or the card of a report. */
static int add_length(const json_t *json, enum rendering as, uint64_t *sum)
{
	char *text = NULL;
	size_t length = 0;
	if (as == PAGE) {
		(void)cwe_report_html(json, &text, &length);
	} else if (as == CARD) {
		(void)cwe_report_card(json, &text, &length);
	} else {
		text = cwb_json_text(json, JSON_INDENT(2) | JSON_PRESERVE_ORDER, &length);
	}
	int r = text != NULL ? 0 : -ENOMEM;
	free(text);
	*sum += length;
	return r;
}

int cwe_run_report_bytes(struct cwe_run *run, size_t n_files, uint64_t *ret, struct cwb_err *err)
{
	const json_int_t some = (json_int_t)1 << 40; /* as long as a size may become */
	json_t *size = json_pack("{s:I,s:I,s:I,s:I,s:f}", "quantized_bytes", some, "protected_bytes", some, "whole_bytes", some, "other_bytes", some,
		"bits_per_weight", 10.125);
	json_t *none = json_array(), *report = NULL, *facts = NULL;
	uint64_t sum = room(run, n_files);
	struct cwe_run now = *run; /* without results */
	now.evaluation = now.flipped = now.gate = none;
	for (; now.records < CWE_STAGES; now.records++) {
		now.record[now.records] = (struct cwe_stage_record){.stage = CWE_STAGE_CALIBRATE, .seconds = 99999.99,
			.tokens = (uint64_t)1 << 40, .peak_memory = (uint64_t)1 << 40};
	}
	/* The budget itself stands in both reports: the same room for every number. */
	char digits[24];
	sum += 2 * (sizeof digits - (unsigned)snprintf(digits, sizeof digits, "%llu", (unsigned long long)run->job->bytes));
	int r = size != NULL && none != NULL ? 0 : -ENOMEM;
	report = r == 0 ? build(&now, size) : NULL;
	r = report != NULL ? manifest_facts(&now, size, &facts, NULL) : -ENOMEM;
	r = r == 0 ? add_length(report, JSON_TEXT, &sum) : r;
	r = r == 0 ? add_length(report, PAGE, &sum) : r;
	r = r == 0 ? add_length(report, CARD, &sum) : r;
	r = r == 0 ? add_length(facts, JSON_TEXT, &sum) : r;
	json_decref(facts);
	json_decref(report);
	json_decref(none);
	json_decref(size);
	if (r != 0) {
		return cwb_err_set(err, r, "no memory for the report");
	}
	*ret = sum;
	return 0;
}

/* Bytes of the output as it stands, with room for its manifest. */
static int output_bytes(const struct cwe_run *run, const json_t *facts, uint64_t *ret, struct cwb_err *err)
{
	uint64_t sum = 0;
	size_t files = 0;
	struct stat st;
	int fd = openat(run->output_fd, ".", O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	if (dir == NULL) {
		int r = cwb_err_errno(err, "output: cannot be read");
		if (fd >= 0) {
			(void)close(fd);
		}
		return r;
	}
	for (const struct dirent *e; (e = readdir(dir)) != NULL;) {
		if (e->d_name[0] != '.' && fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode)) {
			sum += (uint64_t)st.st_size;
			files++;
		}
	}
	(void)closedir(dir);
	sum += files * ROOM_FILE;
	int r = add_length(facts, JSON_TEXT, &sum);
	if (r != 0) {
		return cwb_err_set(err, r, "no memory for the manifest");
	}
	*ret = sum;
	return 0;
}

static int write_manifest(struct cwe_run *run, json_t *size, struct cwb_err *err)
{
	char digest[65];
	json_t *facts = NULL;
	uint64_t bytes = 0;
	int r = manifest_facts(run, size, &facts, err);
	r = r == 0 && run->budget.total > 0 ? output_bytes(run, facts, &bytes, err) : r;
	r = r == 0 ? cwe_budget_kept(run, json_number_value(json_object_get(size, "bits_per_weight")), bytes, err) : r;
	r = r == 0 ? cwe_manifest_write_known(run->job->output, facts, &run->written, digest, err) : r;
	json_decref(facts);
	return r;
}

static int write_reports(struct cwe_run *run, json_t *size, int outcomes, struct cwb_err *err)
{
	json_t *report = build(run, size);
	if (report != NULL && run->p->search != NULL) {
		(void)json_object_set(report, "search", (json_t *)(uintptr_t)run->p->search);
	}
	int r = report != NULL ? cwe_report_write(run->output_fd, report, err) : cwb_err_set(err, -ENOMEM, "no memory for the report");
	r = r == 0 && outcomes ? cwe_measured_write(run, run->output_fd, err) : r;
	json_decref(report);
	return r;
}

/* Rows of groups, which can be made again from items. */
static void drop_groups(json_t *evaluation)
{
	for (size_t i = json_array_size(evaluation); i-- > 0;) {
		if (json_is_string(json_object_get(json_array_get(evaluation, i), "group"))) {
			(void)json_array_remove(evaluation, i);
		}
	}
}

/* How many texts flipped, items there are and groups they have is not known when protect.bytes is divided: what does not fit
 * is left out, the least needed first. 1 when something was, 0 when nothing is left to leave out. */
static int shorten(struct cwe_run *run, int step, int *outcomes, struct cwb_err *err)
{
	static const char *const what[] = {"items that flipped", CWE_OUTCOMES_FILE, "rows of groups"};
	int r;
	if (step >= (int)(sizeof what / sizeof *what)) {
		return 0;
	}
	if (step == 0) {
		(void)json_array_clear(run->flipped);
	} else if (step == 1) {
		*outcomes = 0;
		r = cwb_file_remove_tree(run->output_fd, CWE_OUTCOMES_FILE, err);
		if (r != 0) {
			return r;
		}
	} else {
		drop_groups(run->evaluation);
	}
	r = cwe_run_warn(run, err, "report: protect.bytes leaves no room for %s", what[step]);
	return r == 0 ? 1 : r;
}

int cwe_run_report(struct cwe_run *run, struct cwb_err *err)
{
	json_t *size = size_json(run, err), *facts = NULL;
	int outcomes = run->measures > 0, r = 1;
	if (size == NULL) {
		return err != NULL && err->code != 0 ? err->code : cwb_err_set(err, -ENOMEM, "no memory for the report");
	}
	cwe_run_stage_end(run);
	for (int step = 0; r > 0; step++) {
		uint64_t bytes = 0;
		r = write_reports(run, size, outcomes, err);
		if (r == 0 && run->budget.files && run->measures > 0) {
			r = manifest_facts(run, size, &facts, err);
			r = r == 0 ? output_bytes(run, facts, &bytes, err) : r;
			r = r == 0 && bytes > run->job->bytes ? shorten(run, step, &outcomes, err) : r;
			json_decref(facts);
			facts = NULL;
		}
	}
	r = r == 0 ? write_manifest(run, size, err) : r;
	json_decref(size);
	return r;
}
