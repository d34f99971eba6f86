/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Stage open: model, tokenizer, plugins, modules, samples; everything that can be refused is refused here. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/format/format.h"
#include "engine/pipeline/carrier.h"
#include "engine/pipeline/device.h"
#include "engine/pipeline/masks.h"
#include "engine/pipeline/run.h"
#include "engine/plugin/settings.h"
#include "engine/text/beside.h"

static const char *combine_name(enum cwj_combine c)
{
	return c == CWJ_COMBINE_MEAN ? "mean" : c == CWJ_COMBINE_REFERENCE ? "reference" : "rank";
}

/* What the job's sections need of each other. */
static int check_sections(const struct cwj_job *job, struct cwb_err *err)
{
	if (cwj_job_selects(job) && !job->has_score) {
		return cwb_err_set(err, CWP_EMISSING, "protect asks for protected weights, but there is no score: say which weights "
			"matter with score and calibrate, or set the fraction to 0");
	}
	if (job->has_score && job->n_sets == 0) {
		return cwb_err_set(err, CWP_EMISSING, "score needs calibration sets: add calibrate.critical");
	}
	return 0;
}

/* A scorer that asks for no statistics gives all sets the same importances: their difference says nothing. */
static int check_unmeasured(const struct cwe_run *run, struct cwb_err *err)
{
	const struct cwj_job *job = run->job;
	int subtracted = 0;
	for (size_t i = 0; i < job->n_sets; i++) {
		subtracted |= job->utility == CWJ_UTILITY_SUBTRACT && job->sets[i].role == CWJ_ROLE_UTILITY;
	}
	if ((run->needs & ~(uint32_t)CWP_STAT_QUANT_ERROR) != 0 || !subtracted) {
		return 0;
	}
	int r = cwb_err_set(err, CWP_EVALUE, "score.utility: subtract takes scores of plugin %s from themselves, since it does not look "
		"at the sets; use add or ignore", job->score.plugin);
	return cwe_run_place(err, r, job->score.line, job->score.column, "score", "utility");
}

/* What the settings say of an algorithm, if there is such an option. */
static const char *algorithm_of(const struct cwe_run *run)
{
	const struct cwp_plugin *p = run->quantizer->descriptor;
	for (uint32_t i = 0; i < p->n_options; i++) {
		if (strcmp(p->options[i].name, "algorithm") == 0 && run->quantizer_settings[i].string != NULL) {
			return run->quantizer_settings[i].string;
		}
	}
	return "these options";
}

/* A quantizer that is calibrated asks for what can be had, and there is something to calibrate it on. */
static int check_quantizer(struct cwe_run *run, struct cwb_err *err)
{
	const struct cwp_quantizer *q = run->quantizer->interface;
	const char *name = run->job->quantize.plugin;
	const uint32_t known = CWP_STAT_ACT_SUM | CWP_STAT_ACT_SQ | CWP_STAT_ACT_ABS | CWP_STAT_ACT_ABSMAX | CWP_STAT_GRAM |
		CWP_STAT_ACT_HISTOGRAM | CWP_STAT_ACT_RANGE | CWP_QUANTIZER_SMOOTHS;
	run->quantizer_needs = q->needs(run->quantizer_settings);
	if (run->quantizer_needs == 0) {
		return 0;
	}
	if ((run->quantizer_needs & ~known) != 0 || q->prepare == NULL) {
		return cwb_err_set(err, CWP_EPLUGIN, "plugin '%s': %s; report it to the plugin's vendor", name, q->prepare == NULL ?
			"it asks for statistics and has no prepare() to take them" : "it asks for statistics that quantizers cannot have");
	}
	if ((run->quantizer_needs & CWP_QUANTIZER_SMOOTHS) != 0 && q->smooth == NULL) {
		return cwb_err_set(err, CWP_EPLUGIN, "plugin '%s': it wants to scale channels and has no smooth(); report it to the plugin's vendor",
			name);
	}
	return run->job->n_sets > 0 ? 0 : cwb_err_set(err, CWP_EMISSING, "quantize: %s with %s looks at what comes to the weights, and "
		"there is nothing to calibrate on: add sets to calibrate, or choose options that need none, such as algorithm: rtn",
		name, algorithm_of(run));
}

static int open_plugins(struct cwe_run *run, struct cwb_err *err)
{
	const struct cwj_job *job = run->job;
	struct cwe_registry *registry = run->p->registry;
	int r = cwe_registry_find(registry, CWP_KIND_QUANTIZER, job->quantize.plugin, &run->quantizer, err);
	r = cwe_run_place(err, r, job->quantize.line, job->quantize.column, "quantize", "plugin");
	if (r != 0 || (r = cwe_settings_make(run->quantizer->descriptor, "quantize", job->quantize.options,
			job->quantize.n_options, &run->quantizer_settings, err)) != 0) {
		return r;
	}
	if ((r = check_quantizer(run, err)) != 0) {
		return cwe_run_place(err, r, job->quantize.line, job->quantize.column, "quantize", "plugin");
	}
	if (!job->has_score || !cwj_job_selects(job) || job->carrier == CWJ_CARRIER_NONE) {
		return 0;
	}
	r = cwe_registry_find(registry, CWP_KIND_SCORER, job->score.plugin, &run->scorer, err);
	if ((r = cwe_run_place(err, r, job->score.line, job->score.column, "score", "plugin")) != 0 ||
		(r = cwe_settings_make(run->scorer->descriptor, "score", job->score.options, job->score.n_options,
			&run->scorer_settings, err)) != 0) {
		return r;
	}
	const struct cwp_scorer *s = run->scorer->interface;
	run->needs = s->needs(run->scorer_settings, combine_name(job->combine));
	if (run->needs & (CWP_STAT_GRAM | CWP_STAT_ACT_HISTOGRAM | CWP_STAT_ACT_ABS | CWP_STAT_ACT_RANGE)) {
		return cwb_err_set(err, CWP_EPLUGIN, "plugin '%s': it asks for statistics that scorers cannot have; report it to the plugin's vendor",
			job->score.plugin);
	}
	return check_unmeasured(run, err);
}

/* A skip entry is a module's full name, a dotted prefix or a dotted suffix of it. */
static int matches(const char *module, const char *entry)
{
	size_t n = strlen(module), k = strlen(entry);
	if (strncmp(module, entry, k) == 0 && (module[k] == '\0' || module[k] == '.')) {
		return 1;
	}
	return n > k && module[n - k - 1] == '.' && strcmp(module + n - k, entry) == 0;
}

static int check_skip(const struct cwe_run *run, struct cwb_err *err)
{
	for (size_t i = 0; i < run->job->n_skip; i++) {
		const char *entry = run->job->skip[i];
		int found = matches("lm_head", entry) || matches("model.embed_tokens", entry) || matches("model.norm", entry);
		for (size_t k = 0; !found && k < run->modules; k++) {
			found = matches(run->module[k].name, entry);
		}
		if (!found) {
			return cwb_err_set(err, CWP_EUNKNOWN, "quantize.skip: \"%s\" names no module of the model; write a name such "
				"as lm_head, mlp.down_proj or model.layers.0", entry);
		}
	}
	return 0;
}

/* What no file of this format can hold is refused before any work is done. */
static int check_format(const struct cwe_run *run, struct cwb_err *err)
{
	const struct cwj_job *job = run->job;
	int dense = cwe_run_is_dense(run);
	const struct cwe_format *format = cwe_format_find(dense ? CWJ_FORMAT_DENSE : (int)job->format);
	const char **kept = calloc(run->modules + 1, sizeof *kept);
	size_t n = 0, n_kept = 0;
	struct cwe_output_module *list = cwe_run_output_modules(run, &n, err);
	int r = kept == NULL ? cwb_err_set(err, -ENOMEM, "no memory for %zu modules", run->modules) : list == NULL ? -ENOMEM : 0;
	for (size_t i = 0; r == 0 && i < run->modules; i++) {
		if (!run->module[i].quantized) {
			kept[n_kept++] = run->module[i].name;
		}
	}
	r = r == 0 ? cwe_format_check_all(format, list, n, kept, n_kept, err) : r;
	if (r == 0 && job->format == CWJ_FORMAT_GGUF) {
		/* Names, configuration and tokenizer must be such that GGUF has words for them: laid out, all is asked. */
		struct cwe_writer_options options = cwe_run_writer_options(run, job->has_protect);
		struct cwe_writer_size size;
		r = cwe_writer_measure(run->source, &options, list, n, &size, err);
	}
	free(list);
	free(kept);
	return r;
}

/* The modules of all layers, with names and shapes. */
static int number_modules(struct cwe_run *run, struct cwb_err *err)
{
	const struct cwe_arch *a = &run->model.arch;
	run->layer_at = calloc((size_t)a->layers + 1, sizeof *run->layer_at);
	for (uint32_t l = 0; run->layer_at != NULL && l < a->layers; l++) {
		run->modules += cwe_linears_scored(a, l);
		run->layer_at[l + 1] = run->modules;
	}
	run->module = run->layer_at != NULL ? calloc(run->modules, sizeof *run->module) : NULL;
	if (run->module == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for %zu modules", run->modules);
	}
	for (uint32_t l = 0; l < a->layers; l++) {
		size_t n = run->layer_at[l + 1] - run->layer_at[l];
		for (size_t i = 0; i < n; i++) {
			struct cwe_run_module *m = &run->module[run->layer_at[l] + i];
			struct cwe_linear linear;
			cwe_linear_at(a, l, (uint32_t)i, &linear);
			*m = (struct cwe_run_module){.layer = l, .linear = (uint32_t)i, .first = i == 0, .last = i + 1 == n,
				.rows = linear.rows, .cols = linear.cols};
			(void)cwe_module_name(&run->model, l, (uint32_t)i, m->name, sizeof m->name);
		}
	}
	return 0;
}

/* LLM.int8() in a format that knows no outlier channels. */
static int warn_outliers(struct cwe_run *run, struct cwb_err *err)
{
	for (size_t i = 0; run->job->format == CWJ_FORMAT_COMPRESSED_TENSORS && i < run->modules; i++) {
		const struct cwe_run_module *m = &run->module[i];
		if (m->quantized && m->grid.activation == CWP_ACT_INT8_OUTLIER && m->grid.threshold > 0) {
			return cwe_run_warn(run, err, "quantize: compressed-tensors knows no outlier channels: all inputs are quantized by token, "
				"whatever the threshold; write.format: bitsandbytes keeps it");
		}
	}
	return 0;
}

static int list_modules(struct cwe_run *run, struct cwb_err *err)
{
	const struct cwp_quantizer *q = run->quantizer->interface;
	int r = number_modules(run, err);
	for (size_t i = 0; r == 0 && i < run->modules; i++) {
		struct cwe_run_module *m = &run->module[i];
		char text[256] = "";
		m->quantized = 1;
		run->largest = m->rows * m->cols > run->largest ? m->rows * m->cols : run->largest;
		run->tallest = m->rows > run->tallest ? m->rows : run->tallest;
		run->widest = m->cols > run->widest ? m->cols : run->widest;
		for (size_t k = 0; k < run->job->n_skip; k++) {
			m->quantized &= !matches(m->name, run->job->skip[k]);
		}
		if (!m->quantized) {
			continue;
		}
		m->grid.size = sizeof m->grid;
		r = q->grid(run->quantizer_settings, m->rows, m->cols, &m->grid, text, sizeof text);
		if (r != 0) {
			return cwb_err_set(err, r, "quantize: %s: %s", m->name, text[0] != '\0' ? text : cwb_err_text(r));
		}
		/* bitsandbytes keeps absmax as it is. */
		m->grid.exact_scales = m->grid.activation == CWP_ACT_INT8_OUTLIER && run->job->format == CWJ_FORMAT_BITSANDBYTES;
		run->weights += m->rows * m->cols;
	}
	r = r == 0 ? warn_outliers(run, err) : r;
	r = r == 0 ? check_skip(run, err) : r;
	r = r == 0 ? cwe_run_carrier_check(run, err) : r;
	return r == 0 ? check_format(run, err) : r;
}

static int needs_tokenizer(const struct cwj_job *job)
{
	int needed = job->n_evaluations > 0;
	for (size_t i = 0; i < job->n_sets; i++) {
		needed |= strcmp(job->sets[i].data, "samples") != 0;
	}
	return needed;
}

/* Whether something looks at the sets. */
static int is_calibrated(const struct cwe_run *run)
{
	return run->scorer != NULL || run->quantizer_needs != 0;
}

static int uses_chat(const struct cwe_run *run)
{
	int used = 0;
	for (size_t i = 0; is_calibrated(run) && i < run->job->n_sets; i++) {
		used |= cwe_samples_use_chat(&run->job->sets[i]);
	}
	return used;
}

/* The chat format of prompts. One that was asked for is looked at even where nothing uses it. */
static int open_chat(struct cwe_run *run, struct cwb_err *err)
{
	const char *asked = run->job->chat.format;
	int used = uses_chat(run), chosen = asked != NULL && strcmp(asked, "auto") != 0;
	const struct cwe_chat_question question = {.asked = asked, .tokenizer = run->tokenizer,
		.warnings = used ? run->warnings : NULL};
	if (!used && !chosen) {
		return 0;
	}
	run->chat_looked = used;
	int r = cwe_chat_beside(run->source, &question, &run->chat, err);
	if (r == 0 && used && run->chat == NULL && !chosen) {
		r = cwe_run_warn(run, err, "prompts of calibration sets are taken as plain text, and a line end is put behind "
			"each; chat: none says that this is right");
	}
	return cwe_run_place(err, r, run->job->chat.line, run->job->chat.column, "chat", "");
}

/* Tensors that the architecture does not have: perhaps it is another model than its config.json says. */
static int warn_extra(struct cwe_run *run, struct cwb_err *err)
{
	char text[1024];
	return cwe_model_extra_text(&run->model, text, sizeof text) > 0
		? cwe_run_warn(run, err, "model: %s; the output gets them as they are", text) : 0;
}

int cwe_run_open(struct cwe_run *run, struct cwb_err *err)
{
	const struct cwj_job *job = run->job;
	int r;
	run->warnings = json_array();
	if (run->warnings == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for warnings");
	}
	if ((r = check_sections(job, err)) != 0 || (r = open_plugins(run, err)) != 0 ||
		(r = cwe_run_place(err, cwe_source_open(job->model, 0, &run->source, err), 0, 0, "model", "")) != 0 ||
		(r = cwe_run_place(err, cwe_source_adapt(run->source, job->adapters, job->n_adapters, err), 0, 0, "adapter", "")) != 0 ||
		(r = cwe_run_device_open(run, err)) != 0 ||
		(r = cwe_model_open(run->source, NULL, &run->device, &run->model, err)) != 0 ||
		(r = warn_extra(run, err)) != 0 ||
		(r = list_modules(run, err)) != 0) {
		return r;
	}
	if (job->scale_pilot && run->largest > UINT32_MAX) {
		return cwb_err_set(err, CWP_ELIMIT, "score.scale: pilot numbers a matrix's weights with 32 bits, but one has %llu: use exact",
			(unsigned long long)run->largest);
	}
	if (run->source->kind == CWE_SOURCE_OUTPUT) {
		return cwb_err_set(err, CWP_EVALUE, "model: %s is quantized already; give the original model", job->model);
	}
	if ((r = cwe_run_masks_open(run, err)) != 0) {
		return r;
	}
	r = needs_tokenizer(job) ? cwe_tokenizer_beside(run->source, &run->tokenizer, err) : 0;
	return r == 0 ? open_chat(run, err) : r;
}

static int has_loss(const struct cwe_sample *s)
{
	for (size_t q = 0; q < s->count; q++) {
		for (size_t t = 0; t < s->sequence[q].count; t++) {
			if (s->sequence[q].weight[t] != 0) {
				return 1;
			}
		}
	}
	return 0;
}

/* A sample that is all prompt has no gradient; it would only make its set's importances smaller. */
static int check_losses(const struct cwe_run *run, const struct cwe_sample_set *set, struct cwb_err *err)
{
	const char *example = NULL;
	size_t without = 0;
	if (!(run->needs & (CWP_STAT_GRAD_SUM | CWP_STAT_GRAD_ABS | CWP_STAT_GRAD_SQ))) {
		return 0;
	}
	for (size_t i = 0; i < set->count; i++) {
		if (!has_loss(&set->sample[i])) {
			example = set->sample[i].identity;
			without++;
		}
	}
	return without == 0 ? 0 : cwb_err_set(err, CWP_EVALUE, "calibration set \"%s\": %zu of %zu samples are all prompt, such as %s: "
		"each needs a token whose weight is not 0", set->name, without, set->count, example);
}

int cwe_run_samples(struct cwe_run *run, struct cwb_err *err)
{
	const struct cwj_job *job = run->job;
	if (!is_calibrated(run)) {
		return 0; /* nothing will be measured: the sets are not read */
	}
	run->set = calloc(job->n_sets, sizeof *run->set);
	run->set_loss = calloc(job->n_sets, sizeof *run->set_loss);
	run->set_sum = calloc(job->n_sets, sizeof *run->set_sum);
	run->set_factor = calloc(job->n_sets, sizeof *run->set_factor);
	run->set_value = calloc(job->n_sets, sizeof *run->set_value);
	if (run->set == NULL || run->set_loss == NULL || run->set_sum == NULL || run->set_factor == NULL || run->set_value == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for %zu sets", job->n_sets);
	}
	for (size_t i = 0; i < job->n_sets; i++) {
		int r = cwe_samples_read(&job->sets[i], run->tokenizer, run->chat, job->seed, run->model.arch.context,
			run->model.arch.vocabulary, &run->set[i], err);
		run->sets += r == 0;
		r = r == 0 ? check_losses(run, &run->set[i], err) : r;
		if (r != 0) {
			return cwe_run_place(err, r, job->sets[i].line, job->sets[i].column, "calibrate", job->sets[i].name);
		}
	}
	int r = cwe_run_piece_tokens(run, &run->piece, err);
	return r == 0 ? cwe_corpus_new(run->set, run->sets, run->piece, &run->corpus, err) : r;
}
