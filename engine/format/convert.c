/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Outputs, converted: the codes and scales of one, handed to the writer of another as a quantizer would. */
#include "engine/format/convert.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "engine/format/convert_view.h"
#include "engine/format/format.h"
#include "engine/format/manifest.h"
#include "engine/format/support.h"

struct converting {
	const struct cwe_convert_options *o;
	json_t *manifest;
	struct cwe_source *source;         /* the output, protected */
	struct cwe_output_weights *output; /* its codes */
	struct cwe_saved_mask *mask;       /* NULL: nothing is protected */
	struct cwe_weights *weights;       /* of source, before they were replaced by the view */
	struct cwe_weights *view;
	size_t count;
	struct cwe_output_module *module;  /* [count] that stay quantized */
	size_t *item;                      /* [count] their numbers in output */
	json_t *kept;                      /* modules that are whole in the new output */
};

static int nomem(struct cwb_err *err)
{
	return cwb_err_set(err, -ENOMEM, "convert: out of memory");
}

/* ---- what is there ---- */

static int open_output(struct converting *c, struct cwb_err *err)
{
	const char *path = c->o->output;
	struct cwb_err local = {0};
	int rc = cwe_manifest_verify(path, &c->manifest, err);

	if (!rc)
		rc = cwe_source_open(path, 0, &c->source, err);
	if (rc)
		return rc;
	if (c->source->kind != CWE_SOURCE_OUTPUT)
		return cwb_err_set(err, CWP_EVALUE, "%s: holds no codes, as it is dense: convert an output of another write.format and "
			"protect.carrier", path);
	rc = cwe_output_state_open(path, c->source->config, &c->output, err);
	if (!rc && c->source->weights->count != c->output->count)
		rc = cwb_err_set(err, CWP_EFORMAT, "%s: its weights changed while they were opened", path);
	if (rc)
		return rc;
	rc = cwe_saved_mask_open(path, &c->mask, &local);
	if (rc && rc != CWP_EMISSING)
		return cwb_err_set(err, rc, "%s", local.message);
	if (c->mask && c->o->carrier == CWJ_CARRIER_NONE)
		return cwb_err_set(err, CWP_EVALUE, "--carrier none: the codes of %s were chosen around its protected weights, and those that "
			"plain quantization gives are not there: run a job with protect.carrier none", path);
	return 0;
}

/* Protected weights of an item, all of them to be kept whole or not. */
static int count_protected(const struct converting *c, const struct cwe_output_item *m, int64_t number, uint64_t *ret,
	struct cwb_err *err)
{
	uint64_t stride = (m->cols + 7) / 8, step = cwe_format_step(m->cols), row, n, r;
	uint8_t *bits;
	int rc = 0;

	*ret = 0;
	if (number < 0)
		return 0;
	bits = malloc(step * stride + 1);
	if (!bits)
		return nomem(err);
	for (row = 0; row < m->rows && !rc; row += n) {
		n = m->rows - row < step ? m->rows - row : step;
		rc = cwe_saved_mask_rows(c->mask, number, m->cols, row, n, bits, err);
		for (r = 0; r < n && !rc; r++)
			*ret += cwe_overlay_count_row(bits + r * stride, m->cols);
	}
	free(bits);
	return rc;
}

/* Formats that always store zero points have them for symmetric codes too: all 0 then. */
static int find_symmetric(const struct converting *c, const struct cwe_output_item *m, uint32_t *ret, struct cwb_err *err)
{
	uint64_t n = cwe_grid_scales(&m->grid, m->cols), i;
	int8_t *zeros;
	int rc;

	*ret = 1;
	if (m->grid.symmetric)
		return 0;
	zeros = calloc(m->rows, n);
	rc = zeros ? c->output->reader->zeros(m, 0, m->rows, n, zeros, err) : nomem(err);
	for (i = 0; i < m->rows * n && !rc && *ret; i++)
		*ret = zeros[i] == 0;
	free(zeros);
	return rc;
}

static int take_item(struct converting *c, size_t i, struct cwb_err *err)
{
	const struct cwe_output_item *m = &c->output->item[i];
	struct cwe_output_module *to = &c->module[c->count];
	char *name = strndup(m->name, strlen(m->name) - strlen(".weight"));
	uint32_t symmetric = 1;
	uint64_t n = 0;
	int rc = name ? count_protected(c, m, c->mask ? cwe_saved_mask_find(c->mask, name) : -1, &n, err) : nomem(err);

	if (!rc && c->o->carrier == CWJ_CARRIER_MODULES && n && n < m->rows * m->cols)
		rc = cwb_err_set(err, CWP_EVALUE, "--carrier modules: of module \"%s\" only %" PRIu64 " of %" PRIu64
			" weights are exact in %s, and the others' original values are not there: run a job with protect.unit module",
			name, n, m->rows * m->cols, c->o->output);
	if (!rc && c->o->carrier == CWJ_CARRIER_MODULES && n)
		rc = json_array_append_new(c->kept, json_string(name)) ? nomem(err) : 0;
	if (!rc)
		rc = find_symmetric(c, m, &symmetric, err);
	if (rc || (c->o->carrier == CWJ_CARRIER_MODULES && n)) {
		free(name);
		return rc;
	}
	*to = (struct cwe_output_module){.name = name, .rows = m->rows, .cols = m->cols, .grid = m->grid, .protected_weights = n,
		.input_scale = m->input_scale, .input_zero = m->input_zero};
	to->grid.symmetric = symmetric;
	/* Packed 8-bit codes with one scale a row are what a job of groups falls back to. */
	to->grid.fallback = m->shape && m->grid.bits == 8 && m->grid.granularity == CWP_PER_CHANNEL;
	c->item[c->count++] = i;
	return 0;
}

/* Whole modules have lost their codes. */
static int take_kept(struct converting *c, struct cwb_err *err)
{
	const json_t *list = json_object_get(c->manifest, "kept_modules");

	if (!json_array_size(list))
		return 0;
	if (c->o->carrier != CWJ_CARRIER_MODULES && c->o->carrier != CWJ_CARRIER_DENSE)
		return cwb_err_set(err, CWP_EVALUE, "--carrier %s: %s keeps %zu modules whole, such as %.100s, and has no codes of them: choose "
			"--carrier modules or dense", cwe_carrier_name((size_t)c->o->carrier), c->o->output, json_array_size(list),
			json_string_value(json_array_get(list, 0)));
	return json_array_extend(c->kept, (json_t *)(uintptr_t)list) ? nomem(err) : 0;
}

/* As they lie in the files: the order in which the job quantized them, which the new files will have too. */
static int by_place(const void *a, const void *b)
{
	const struct cwe_checkpoint_tensor *x = (*(const struct cwe_output_item *const *)a)->codes;
	const struct cwe_checkpoint_tensor *y = (*(const struct cwe_output_item *const *)b)->codes;
	int order = strcmp(x->file->input.path, y->file->input.path);

	return order ? order : x->entry->offset < y->entry->offset ? -1 : x->entry->offset > y->entry->offset;
}

static int take_quantized(struct converting *c, struct cwb_err *err)
{
	const struct cwe_output_item **list = calloc(c->output->count + 1, sizeof *list);
	size_t n = 0, i;
	int rc = list ? 0 : nomem(err);

	for (i = 0; list && i < c->output->count; i++)
		if (c->output->item[i].quantized)
			list[n++] = &c->output->item[i];
	if (n)
		qsort(list, n, sizeof *list, by_place);
	for (i = 0; i < n && !rc; i++)
		rc = take_item(c, (size_t)(list[i] - c->output->item), err);
	free(list);
	return rc;
}

static int take_modules(struct converting *c, struct cwb_err *err)
{
	int rc;

	c->module = calloc(c->output->count + 1, sizeof *c->module);
	c->item = calloc(c->output->count + 1, sizeof *c->item);
	c->kept = json_array();
	if (!c->module || !c->item || !c->kept)
		return nomem(err);
	rc = take_kept(c, err);
	return rc ? rc : take_quantized(c, err);
}

static int open_view(struct converting *c, struct cwb_err *err)
{
	uint32_t dtype = CWP_F32;
	int rc = cwe_convert_dtype(c->source->weights, c->output, c->mask, &dtype, err);

	if (!rc)
		rc = cwe_convert_view_open(c->source->weights, c->output, dtype, &c->view, err);
	if (!rc) { /* what the writer sees */
		c->weights = c->source->weights;
		c->source->weights = c->view;
		c->source->kind = CWE_SOURCE_DIRECTORY;
	}
	return rc;
}

/* ---- what becomes of it ---- */

/* One module's codes, scales and zero points, and its mask. */
struct piece {
	uint8_t *codes, *mask;
	float *scales;
	int8_t *zeros;
};

static void piece_free(struct piece *p)
{
	free(p->codes);
	free(p->mask);
	free(p->scales);
	free(p->zeros);
}

static int read_piece(const struct converting *c, size_t k, struct piece *p, struct cwb_err *err)
{
	const struct cwe_output_item *m = &c->output->item[c->item[k]];
	const struct cwe_output_reader *reader = c->output->reader;
	uint64_t n = cwe_grid_scales(&m->grid, m->cols), stride = (m->cols + 7) / 8;
	int64_t number = c->mask ? cwe_saved_mask_find(c->mask, c->module[k].name) : -1;
	int rc;

	*p = (struct piece){.codes = malloc(m->rows * m->cols + 1), .scales = malloc(m->rows * n * sizeof(float) + 1),
		.zeros = m->grid.symmetric ? NULL : calloc(m->rows, n), .mask = number >= 0 ? malloc(m->rows * stride + 1) : NULL};
	if (!p->codes || !p->scales || (!m->grid.symmetric && !p->zeros) || (number >= 0 && !p->mask))
		return nomem(err);
	rc = reader->codes(m, 0, m->rows, p->codes, err);
	if (!rc)
		rc = cwe_output_read_scales(reader, m, 0, m->rows, p->scales, err);
	if (!rc && p->zeros)
		rc = reader->zeros(m, 0, m->rows, n, p->zeros, err);
	if (!rc && p->mask)
		rc = cwe_saved_mask_rows(c->mask, number, m->cols, 0, m->rows, p->mask, err);
	return rc;
}

static int write_all(const struct converting *c, struct cwe_writer *w, struct cwb_err *err)
{
	size_t i;
	int rc = 0;

	for (i = 0; i < c->count && !rc; i++) {
		struct piece p;

		rc = read_piece(c, i, &p, err);
		if (!rc)
			rc = cwe_writer_module(w, &c->module[i], p.codes, p.scales, c->module[i].grid.symmetric ? NULL : p.zeros, p.mask, (c->module[i].cols + 7) / 8, err);
		piece_free(&p);
	}
	for (i = 0; i < c->view->count && !rc; i++)
		if (!cwe_writer_has(w, c->view->tensors[i].name))
			rc = cwe_writer_copy(w, c->view->tensors[i].name, err);
	return rc ? rc : cwe_writer_finish(w, err);
}

static const struct cwe_tensor *find_weight(struct cwe_weights *w, const char *module)
{
	const struct cwe_tensor *t;
	char *name;

	if (asprintf(&name, "%s.weight", module) < 0)
		return NULL;
	t = cwe_weights_find(w, name);
	free(name);
	return t;
}

/* As a job's: modules without codes, by the weights that the quantizer had. */
static void count_whole(const struct converting *c, struct cwe_converted *made)
{
	size_t i;

	made->weights = made->whole_bytes = 0;
	for (i = 0; i < c->count; i++) {
		const struct cwe_output_module *m = &c->module[i];

		made->weights += m->rows * m->cols;
		if (!made->size.quantized_weights)
			made->whole_bytes += m->rows * m->cols * cwe_cwp_dtype_size(c->view->tensors[c->item[i]].dtype);
	}
	for (i = 0; i < json_array_size(c->kept); i++) {
		const char *name = json_string_value(json_array_get(c->kept, i));
		const struct cwe_tensor *t = name ? find_weight(c->view, name) : NULL;

		if (t && t->rank == 2) {
			made->weights += t->shape[0] * t->shape[1];
			made->whole_bytes += t->shape[0] * t->shape[1] * cwe_cwp_dtype_size(t->dtype);
		}
	}
}

double cwe_converted_bits(const struct cwe_converted *made)
{
	uint64_t bytes = made->size.quantized_bytes + made->size.protected_bytes + made->whole_bytes;

	return made->weights ? 8.0 * (double)bytes / (double)made->weights : 0;
}

/* What the job's manifest says still holds, but for what is stored how. */
static int write_manifest(const struct converting *c, const struct cwe_converted *made, struct cwb_known *written, char ret_digest[65],
	struct cwb_err *err)
{
	json_t *facts = json_deep_copy(c->manifest), *note = json_pack("{s:s,s:s,s:s}", "from", made->from, "format", made->format,
		"carrier", made->carrier);
	int rc;

	if (!facts || !note) {
		json_decref(facts);
		json_decref(note);
		return nomem(err);
	}
	json_object_del(facts, "files");
	json_object_del(facts, "content_digest");
	json_object_del(facts, "kept_modules");
	json_object_set_new(facts, "converted", note);
	if (json_array_size(c->kept))
		json_object_set(facts, "kept_modules", c->kept);
	if (json_is_object(json_object_get(facts, "counts")))
		json_object_set_new(json_object_get(facts, "counts"), "bits_per_weight", json_real(cwe_converted_bits(made)));
	rc = cwe_manifest_write_known(c->o->directory, facts, written, ret_digest, err);
	json_decref(facts);
	return rc;
}

/* All tensors are there: what was made of them is measured, reported and listed. */
static int end(const struct converting *c, const struct cwe_writer_adapter *adapter, struct cwb_known *written, char ret_digest[65],
	struct cwb_err *err)
{
	struct cwe_converted made = {.manifest = c->manifest, .format = cwe_format_find(c->o->format)->name,
		.from = json_string_value(json_object_get(c->manifest, "content_digest")), .carrier = cwe_carrier_name((size_t)c->o->carrier),
		.module = c->module, .count = c->count, .kept = c->kept, .adapter = *adapter};
	int rc = cwe_output_measure(c->o->directory, &made.size, err);

	if (rc)
		return rc;
	count_whole(c, &made);
	rc = c->o->report ? c->o->report(c->o, &made, err) : 0;
	return rc ? rc : write_manifest(c, &made, written, ret_digest, err);
}

static int make_folder(const char *path, int *ret_made, struct cwb_err *err)
{
	*ret_made = mkdir(path, 0777) == 0;
	if (*ret_made)
		return 0;
	if (errno == EEXIST)
		return cwb_err_set(err, -EEXIST, "%s: exists: choose a folder that does not exist yet", path);
	return cwb_err_errno(err, "%s: cannot be made", path);
}

static void release(struct converting *c)
{
	size_t i;

	for (i = 0; i < c->count; i++)
		free((char *)(uintptr_t)c->module[i].name);
	free(c->module);
	free(c->item);
	json_decref(c->kept);
	json_decref(c->manifest);
	if (c->view)
		c->source->weights = c->weights;
	cwe_weights_close(c->view);
	cwe_saved_mask_close(c->mask);
	cwe_output_state_free(c->output);
	cwe_source_close(c->source);
}

int cwe_output_convert(const struct cwe_convert_options *o, char ret_digest[65], struct cwb_err *err)
{
	const struct cwe_writer_options options = {.directory = o->directory, .format = o->format, .carrier = o->carrier,
		.shard = o->shard};
	const struct cwe_format *format = cwe_format_find(o->carrier == CWJ_CARRIER_DENSE ? CWJ_FORMAT_DENSE : o->format);
	struct converting c = {.o = o};
	struct cwe_writer *w = NULL;
	struct cwb_known written = {0};
	struct cwe_writer_adapter adapter = {0};
	int made = 0, rc = format ? open_output(&c, err) : cwb_err_set(err, CWP_EVALUE, "--format: is not known");

	if (!rc)
		rc = take_modules(&c, err);
	if (!rc)
		rc = cwe_format_check_all(format, c.module, c.count, NULL, 0, err);
	if (!rc)
		rc = open_view(&c, err);
	if (!rc)
		rc = make_folder(o->directory, &made, err);
	if (!rc)
		rc = cwe_writer_new(c.source, &options, c.module, c.count, &w, err);
	if (!rc)
		rc = write_all(&c, w, err);
	if (!rc)
		rc = cwe_writer_digests(w, &written, err);
	if (!rc && o->carrier == CWJ_CARRIER_ADAPTER)
		cwe_writer_adapter(w, &adapter);
	cwe_writer_free(w);
	if (!rc)
		rc = end(&c, &adapter, &written, ret_digest, err);
	cwb_known_clear(&written);
	if (rc && made)
		(void)cwb_file_remove_tree(AT_FDCWD, o->directory, NULL);
	release(&c);
	return rc;
}
