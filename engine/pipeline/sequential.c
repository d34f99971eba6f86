/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Layer after layer: what comes to its modules is measured with the layer as it was, the modules are quantized, and what
 * the layer gives from then on goes to the next. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "engine/calibrate/calibrate.h"
#include "engine/calibrate/pass.h"
#include "engine/model/ops.h"
#include "engine/pipeline/device.h"
#include "engine/pipeline/quantize_device.h"
#include "engine/pipeline/sequential.h"

/* Host memory of a module that is quantized on the device, a column. */
#define COLUMN_BYTES 64u

/* Seconds between checkpoints for each byte of one, on a GPU: thirty times what writing it takes at a gigabyte a second. */
#define PAUSE_BYTE 30e-9

struct sequential {
	struct cwe_run *run;
	struct cwe_quantizing *q;
	struct cwe_writer *writer; /* one of these two takes the modules */
	struct cwe_plain *plain;
	struct cwe_pass pass; /* two slots, used in turn */
	struct cwe_statistics statistics;
	struct cwe_mask_reader masks;
	struct cwe_sequential sequence; /* what an attempt after this one would go on from */
	double kept;                    /* when that was written */
	uint32_t layer;                 /* the next one */
	/* Of the module that was prepared last, in this layer. */
	void *state;
	struct cwe_linear linear;
	int there; /* on the device */
	uint64_t done; /* modules */
	uint64_t *ahead; /* [modules of a layer] protected ones, where masks are read ahead */
};

static const struct cwp_quantizer *quantizer_of(const struct sequential *s)
{
	return s->run->quantizer->interface;
}

static void release(struct sequential *s)
{
	quantizer_of(s)->release(s->state);
	s->state = NULL;
}

uint32_t cwe_run_module_flags(const struct cwe_run *run, const struct cwe_run_module *m)
{
	uint64_t row;
	uint32_t q = cwe_linear_of(&run->model.arch, m->layer, CWE_Q, CWE_DENSE, &row);
	uint32_t k = cwe_linear_of(&run->model.arch, m->layer, CWE_K, CWE_DENSE, &row);
	return m->linear == q || m->linear == k ? CWP_MODULE_SCORES : 0;
}

/* The module's statistics to the plugin; the state before is released. d_gram: x x^T where the module is on the device, else
 * NULL. */
static int prepare(struct sequential *s, const struct cwe_run_module *m, const struct cwe_module_statistics *st, const float *d_gram,
	struct cwb_err *err)
{
	const struct cwe_run *run = s->run;
	struct cwe_linear linear;
	char note[512] = "";
	void *state = NULL;
	int there = d_gram != NULL;
	cwe_linear_at(&run->model.arch, m->layer, m->linear, &linear);
	s->q->input_scale = 0;
	s->q->input_zero = 0;
	struct cwp_quantizer_module module = {.size = sizeof module, .flags = cwe_run_module_flags(run, m), .name = m->name,
		.rows = m->rows, .cols = m->cols, .tokens = st->tokens, .weight = st->weight,
		.mask = s->q->masked ? s->q->mask : NULL, .mask_stride = (m->cols + 7) / 8,
		.act_sum = st->act_sum, .act_sq = st->act_sq, .act_abs = st->act_abs, .act_absmax = st->act_absmax, .gram = st->gram,
		.act_histogram = st->act_histogram,
		.input_scale = &s->q->input_scale,
		.act_least = st->act_least, .act_greatest = st->act_greatest, .input_zero = &s->q->input_zero,
		.before = s->state != NULL && there == s->there && linear.input_at == s->linear.input_at ? s->state : NULL};
	if (there) {
		module.backend = run->device.ops;
		module.b = run->device.b;
		module.d_weight = s->pass.layer.d_weight[m->linear];
		module.d_gram = d_gram;
		module.d_work = s->q->there.d_work;
	}
	int r = quantizer_of(s)->prepare(&run->p->host->table, run->quantizer_settings, &m->grid, &module, &state, note, sizeof note);
	release(s);
	if (r != 0) {
		return there ? cwe_quantizing_failed(run, m, r, err)
			: cwe_host_error(run->p->host, run->job->quantize.plugin, m->name, r, err);
	}
	s->state = state;
	s->linear = linear;
	s->there = there;
	note[sizeof note - 1] = '\0';
	return note[0] != '\0' ? cwe_sequential_note(&s->sequence, m->name, note, err) : 0;
}

static int quantize_here(struct sequential *s, const struct cwe_run_module *m, struct cwb_err *err)
{
	struct cwe_module_statistics st;
	int r = cwe_statistics_get(&s->statistics, &s->pass.layer, m->linear, &st, err);
	r = r == 0 && s->q->smoothing != NULL ? cwe_smoothing_module(s->q->smoothing, m, s->q->weight, &st, err) : r;
	r = r == 0 ? prepare(s, m, &st, NULL, err) : r;
	return r == 0 ? cwe_quantizing_module(s->q, m, st.weight, s->state, err) : r;
}

static int quantize_there(struct sequential *s, const struct cwe_run_module *m, struct cwb_err *err)
{
	struct cwe_module_statistics st;
	const float *d_gram;
	int r = cwe_statistics_get_there(&s->statistics, m->linear, &st, &d_gram, err);
	r = r == 0 ? prepare(s, m, &st, d_gram, err) : r;
	return r == 0 ? cwe_quantizing_module_there(s->q, m, s->pass.layer.d_weight[m->linear], s->state, err) : r;
}

/* Quantized again where an earlier attempt wrote it, which gives the same: the layer's output needs it. */
static int quantize(struct sequential *s, const struct cwe_run_module *m, struct cwb_err *err)
{
	int r = cwe_quantizing_is_there(s->q, m) ? quantize_there(s, m, err) : quantize_here(s, m, err);
	if (r == 0 && s->plain != NULL) {
		r = cwe_plain_put(s->plain, s->run, m, s->q->codes, s->q->scales, s->q->zeros, err);
	} else if (r == 0 && !cwe_writer_has(s->writer, m->name)) {
		r = cwe_quantizing_write(s->q, m, s->writer, err);
	}
	if (r != 0) {
		return r;
	}
	cwe_quantizing_decode(s->q, m);
	return cwe_quantizing_send(s->q, m, s->pass.layer.d_weight[m->linear], err);
}

/* past: the layer is done, all is written. */
static int take_module(struct sequential *s, struct cwe_run_module *m, int past, struct cwb_err *err)
{
	int r = 0;
	if (m->kept && s->writer != NULL) {
		s->done++;
		return 0; /* copied with the rest, and as it was for the next layer */
	}
	if (s->writer != NULL) {
		m->protected_weights = past && m->quantized ? cwe_writer_protected(s->writer, m->name) - m->super_added : 0;
	}
	if (s->q->masked && !past && s->q->smoothing != NULL) {
		memcpy(s->q->mask, cwe_smoothing_mask(s->q->smoothing, m), cwe_run_module_mask_bytes(m));
		m->protected_weights = s->ahead[m - s->run->module - s->run->layer_at[m->layer]];
	} else if (s->q->masked) {
		r = cwe_mask_reader_next(&s->masks, m, past ? NULL : s->q->mask, &m->protected_weights, err);
	}
	r = r == 0 && m->quantized && !past ? quantize(s, m, err) : r;
	cwe_run_progress(s->run, s->plain != NULL ? CWE_STAGE_EVALUATE : CWE_STAGE_QUANTIZE, ++s->done, s->run->modules, "modules");
	return r == 0 ? cwe_run_cancelled(s->run, err) : r;
}

static int take_modules(struct sequential *s, uint32_t layer, int past, struct cwb_err *err)
{
	struct cwe_run *run = s->run;
	int r = 0;
	for (size_t i = run->layer_at[layer]; r == 0 && i < run->layer_at[layer + 1]; i++) {
		r = take_module(s, &run->module[i], past, err);
	}
	release(s);
	return r;
}

/* All pieces through the loaded layer: for the statistics, or into the next boundary. */
static int run_pieces(struct sequential *s, uint32_t layer, const struct cwe_tap *tap, struct cwb_err *err)
{
	const struct cwe_corpus *corpus = &s->run->corpus;
	int r = 0;
	for (size_t i = 0; r == 0 && i < corpus->pieces; i++) {
		r = tap != NULL ? cwe_pass_look(&s->pass, &corpus->piece[i], layer & 1, tap, err)
				: cwe_pass_piece(&s->pass, &corpus->piece[i], layer & 1, (layer + 1) & 1, NULL, err);
	}
	return r;
}

/* How magnitudes are distributed does not follow from what was measured before: the layer's inputs as they are now. */
static int measure_again(struct sequential *s, uint32_t layer, struct cwb_err *err)
{
	struct cwe_tap tap = cwe_statistics_tap(&s->statistics, 0);
	int r = cwe_statistics_begin(&s->statistics, layer, err);
	r = r == 0 ? run_pieces(s, layer, &tap, err) : r;
	cwe_smoothing_measured(s->q->smoothing);
	return r;
}

/* The layer's masks, which its scales depend on, and their weights, before its modules. */
static int read_ahead(struct sequential *s, uint32_t layer, struct cwb_err *err)
{
	struct cwe_run *run = s->run;
	int r = 0;
	for (size_t i = run->layer_at[layer]; r == 0 && i < run->layer_at[layer + 1]; i++) {
		if (run->module[i].kept) {
			continue;
		}
		r = cwe_mask_reader_next(&s->masks, &run->module[i], cwe_smoothing_mask(s->q->smoothing, &run->module[i]),
			&s->ahead[i - run->layer_at[layer]], err);
	}
	return r;
}

/* The layer's scales, and the layer as they leave it. */
static int smooth(struct sequential *s, uint32_t layer, struct cwb_err *err)
{
	struct cwe_smoothing_layer at = {.layer = layer, .statistics = &s->statistics, .loaded = &s->pass.layer};
	int r = s->q->masked ? read_ahead(s, layer, err) : 0;
	r = r == 0 ? cwe_smoothing_run(s->q->smoothing, &at, err) : r;
	if (r == 0 && (s->run->quantizer_needs & CWP_STAT_ACT_HISTOGRAM) != 0) {
		r = measure_again(s, layer, err);
	}
	return r == 0 && s->plain == NULL ? cwe_smoothing_save(s->q->smoothing, layer, err) : r;
}

static double pause_of(const struct cwe_run *run)
{
	uint64_t floats = run->corpus.tokens * run->model.arch.hidden;
	double pause = (double)(floats * sizeof(float)) * PAUSE_BYTE;
	return !cwe_device_remote(&run->device) ? 0 : pause < CWE_CHECKPOINT_PAUSE ? pause : CWE_CHECKPOINT_PAUSE;
}

/* What the next layers build on must not be lost where the layers up to here count as done. */
static int keep(struct sequential *s, struct cwb_err *err)
{
	struct cwe_run *run = s->run;
	int last = s->layer == run->model.arch.layers;
	if (!last && cwb_clock_now() < s->kept + pause_of(run)) {
		return 0;
	}
	int r = cwe_writer_sync(s->writer, err);
	r = r == 0 ? cwe_sequential_advance(run, &s->sequence, s->layer, last ? NULL : &s->pass.boundary, s->layer & 1, err) : r;
	s->kept = cwb_clock_now();
	if (r == 0 && run->p->checkpoint != NULL) {
		run->p->checkpoint(run->p->arg);
	}
	return r;
}

static int take_layer(struct sequential *s, uint32_t layer, struct cwb_err *err)
{
	struct cwe_run *run = s->run;
	struct cwe_tap tap = cwe_statistics_tap(&s->statistics, 0);
	int last = layer + 1 == run->model.arch.layers;
	/* Scales change the layer's weights: then it is loaded a second time, and none ahead. */
	int r = cwe_pass_layer(&s->pass, layer, last || s->q->smoothing != NULL ? CWE_NO_LAYER : layer + 1, err);
	if (cwe_run_layer_weights(run, layer) > 0) {
		r = r == 0 ? cwe_statistics_begin(&s->statistics, layer, err) : r;
		r = r == 0 ? run_pieces(s, layer, &tap, err) : r;
	}
	r = r == 0 && s->q->smoothing != NULL ? smooth(s, layer, err) : r;
	r = r == 0 ? take_modules(s, layer, 0, err) : r;
	r = r == 0 && !last ? run_pieces(s, layer, NULL, err) : r;
	s->layer = layer + 1;
	return r == 0 && s->plain == NULL ? keep(s, err) : r;
}

/* Everything below the layer that an earlier attempt came to must be in the output. */
static int is_whole(const struct sequential *s)
{
	const struct cwe_run *run = s->run;
	for (size_t i = 0; i < run->layer_at[s->sequence.layer]; i++) {
		if (cwe_run_module_coded(&run->module[i]) && !cwe_writer_has(s->writer, run->module[i].name)) {
			return 0;
		}
	}
	return 1;
}

/* The scales of the layers that an earlier attempt is done with. */
static int load_scales(struct sequential *s, struct cwb_err *err)
{
	int r = 0;
	for (uint32_t l = 0; r == 0 && s->q->smoothing != NULL && l < s->sequence.layer; l++) {
		r = cwe_smoothing_load(s->q->smoothing, l, err);
	}
	return r;
}

/* Where an earlier attempt came to, or the embeddings. */
static int begin(struct sequential *s, struct cwb_err *err)
{
	struct cwe_run *run = s->run;
	struct cwb_err lost = {0};
	if (s->plain != NULL) {
		s->sequence.notes = json_array(); /* for nobody */
		return s->sequence.notes != NULL ? cwe_pass_embed(&s->pass, err) : cwb_err_set(err, -ENOMEM, "no memory for notes");
	}
	int r = cwe_sequential_open(run, &s->sequence, err);
	if (r == 0 && s->sequence.layer > 0 && s->sequence.layer < run->model.arch.layers) {
		r = is_whole(s) ? cwe_sequential_load(run, &s->sequence, &s->pass.boundary, s->sequence.layer & 1, &lost) : CWP_EDIGEST;
	} else if (r == 0 && !is_whole(s)) {
		r = CWP_EDIGEST;
	}
	r = r == 0 ? load_scales(s, &lost) : r;
	if (r == CWP_EDIGEST) {
		s->sequence.layer = 0;
		r = json_array_clear(s->sequence.notes);
	} else if (r != 0 && lost.code != 0) {
		return cwb_err_set(err, r, "%s", lost.message);
	}
	return r == 0 && s->sequence.layer == 0 ? cwe_pass_embed(&s->pass, err) : r;
}

static int take_layers(struct sequential *s, struct cwb_err *err)
{
	int r = s->q->masked ? cwe_mask_reader_open(s->run, &s->masks, err) : 0;
	r = r == 0 ? begin(s, err) : r;
	for (uint32_t l = 0; r == 0 && l < s->sequence.layer; l++) {
		r = take_modules(s, l, 1, err);
	}
	s->layer = s->sequence.layer;
	s->kept = cwb_clock_now();
	while (r == 0 && s->layer < s->run->model.arch.layers) {
		r = take_layer(s, s->layer, err);
	}
	return r;
}

/* The notes into the report, and one line of each kind where a person looks. */
static int report(struct sequential *s, struct cwb_err *err)
{
	struct cwe_run *run = s->run;
	const struct cwp_host *host = &run->p->host->table;
	size_t n = json_array_size(s->sequence.notes);
	json_decref(run->quantizer_notes);
	run->quantizer_notes = json_incref(s->sequence.notes);
	if (n == 0) {
		return 0;
	}
	const json_t *first = json_array_get(s->sequence.notes, 0);
	int r = cwe_run_warn(run, err, "quantize: %zu of %zu modules were quantized in another way than asked, such as %s: %s; the report "
		"lists them", n, run->modules, json_string_value(json_object_get(first, "module")),
		json_string_value(json_object_get(first, "note")));
	if (r == 0) {
		host->log(host->ctx, CWP_LOG_WARNING, json_string_value(json_array_get(run->warnings, json_array_size(run->warnings) - 1)));
	}
	return r;
}

static int run_layers(struct cwe_quantizing *q, struct cwe_writer *writer, struct cwe_plain *plain, struct cwb_err *err)
{
	struct cwe_run *run = q->run;
	struct sequential s = {.run = run, .q = q, .writer = writer, .plain = plain, .masks = {.tiles.journal = -1, .scores.tile.fd = -1}};
	int r = cwe_pass_new(&run->model, &run->corpus, 2, run->boundary_memory, run->p->scratch, &s.pass, err);
	s.ahead = calloc(cwe_linears_most(&run->model.arch) + 1, sizeof *s.ahead);
	r = r == 0 && s.ahead == NULL ? cwb_err_set(err, -ENOMEM, "no memory for quantizing") : r;
	r = r == 0 ? cwe_statistics_new(&run->model, run->quantizer_needs, 0, &s.statistics, err) : r;
	r = r == 0 ? take_layers(&s, err) : r;
	r = r == 0 && plain == NULL ? report(&s, err) : r;
	cwe_mask_reader_close(&s.masks);
	cwe_sequential_close(&s.sequence);
	cwe_statistics_free(&s.statistics);
	cwe_pass_free(&s.pass);
	free(s.ahead);
	return r;
}

int cwe_run_sequential(struct cwe_quantizing *q, struct cwe_writer *writer, struct cwb_err *err)
{
	return run_layers(q, writer, NULL, err);
}

int cwe_run_sequential_plain(struct cwe_run *run, struct cwe_plain *plain, struct cwb_err *err)
{
	struct cwe_quantizing q;
	int r = cwe_quantizing_new(run, 0, &q, err);
	if (r == 0) {
		r = run_layers(&q, NULL, plain, err);
		plain->smoothing = q.smoothing;
		q.smoothing = NULL;
		cwe_quantizing_free(&q);
	}
	return r;
}

/* What its quantizer takes on the host for a module: on the device it keeps some numbers of each column here. */
static uint64_t plugin_memory(const struct cwe_run *run, const struct cwe_run_module *m)
{
	const struct cwp_quantizer *q = run->quantizer->interface;
	if (!m->quantized) {
		return 0;
	}
	if (run->quantizes_there && q->device_memory(run->quantizer_settings, run->device.ops, run->device.b, m->rows, m->cols) > 0) {
		return m->cols * COLUMN_BYTES;
	}
	return q->memory(run->quantizer_settings, m->rows, m->cols, run->p->host->table.threads);
}

void cwe_run_sequential_need(const struct cwe_run *run, struct cwe_need *ret)
{
	struct cwe_calibration_bounds b;
	uint64_t plugin = 0;
	if (run->quantizer_needs == 0) {
		return;
	}
	for (size_t i = 0; i < run->modules; i++) {
		uint64_t n = plugin_memory(run, &run->module[i]);
		plugin = n > plugin ? n : plugin;
	}
	cwe_calibration_bounds(&run->model, run->corpus.tokens, run->corpus.widest, run->corpus.longest, run->quantizer_needs, &b);
	ret->host = cwe_smoothing_memory(run) + b.host + plugin;
	ret->device = b.device + (cwe_device_remote(&run->device) ? cwe_smoothing_device_memory(run) : 0) +
		(run->quantizes_there ? cwe_quantizing_device_bytes(run, cwe_run_may_protect(run)) : 0);
	ret->boundaries = b.boundaries;
	cwe_need_passes(ret, &run->model, run->corpus.widest);
}

uint64_t cwe_run_sequential_scratch(const struct cwe_run *run, uint64_t boundaries)
{
	uint64_t slot = run->corpus.tokens * run->model.arch.hidden * sizeof(float);
	/* The checkpoints of two layers for a moment. */
	return run->quantizer_needs == 0 ? 0 : (cwe_need_spills(run, boundaries) ? boundaries : 0) + 2 * slot + cwe_plain_bytes(run);
}
