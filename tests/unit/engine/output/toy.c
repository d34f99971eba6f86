/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/engine/output/toy.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

/* A failure here is a failure of the test, whichever program runs it. */
#define MUST(condition, err)                                                                                          \
	do {                                                                                                          \
		if (!(condition)) {                                                                                   \
			fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #condition, (err).message);             \
			abort();                                                                                      \
		}                                                                                                     \
	} while (0)

uint64_t toy_random(uint64_t *state)
{
	uint64_t x = (*state += 0x9e3779b97f4a7c15u);

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

float toy_normal(uint64_t *state)
{
	double sum = 0;
	int i;

	for (i = 0; i < 12; i++)
		sum += (double)(toy_random(state) >> 11) / 9007199254740992.0;
	return (float)(sum - 6);
}

char *toy_folder(void)
{
	const char *base = getenv("TMPDIR");
	struct cwb_err err = {0};
	char *path;

	MUST(asprintf(&path, "%s/cwp-output-XXXXXX", base ? base : "/tmp") > 0, err);
	MUST(mkdtemp(path), err);
	return path;
}

void toy_remove(const char *path)
{
	struct cwb_err err = {0};

	MUST(!cwb_file_remove_tree(AT_FDCWD, path, &err), err);
}

char *toy_path(const char *folder, const char *name)
{
	struct cwb_err err = {0};
	char *path;

	MUST(asprintf(&path, "%s/%s", folder, name) > 0, err);
	return path;
}

char *toy_read(const char *folder, const char *name, size_t *ret_length)
{
	struct cwb_err err = {0};
	char *path = toy_path(folder, name), *data;
	size_t length;

	MUST(!cwb_file_read(path, 64u << 20, &data, &length, &err), err);
	free(path);
	if (ret_length)
		*ret_length = length;
	return data;
}

void toy_put(const char *path, const void *data, size_t length)
{
	struct cwb_err err = {0};
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644); /* cut afterwards: O_TRUNC makes ext4 write at once */

	MUST(fd >= 0, err);
	MUST(!cwb_file_write(fd, data, length, path, &err), err);
	MUST(!ftruncate(fd, (off_t)length), err);
	close(fd);
}

void toy_put_parts(const char *folder, const char *file, const struct cwe_safetensors_text *text, const struct toy_part *part, size_t n)
{
	struct cwe_safetensors_plan *plan = calloc(n, sizeof *plan);
	struct cwe_safetensors_writer *w;
	struct cwb_err err = {0};
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	uint64_t bytes;
	size_t i;

	MUST(plan && fd >= 0, err);
	for (i = 0; i < n; i++) {
		plan[i] = (struct cwe_safetensors_plan){part[i].name, part[i].dtype, part[i].rank, {0}};
		memcpy(plan[i].shape, part[i].shape, sizeof part[i].shape);
	}
	MUST(!cwe_safetensors_writer_new(fd, file, 0, plan, n, text, text ? 1 : 0, &w, NULL, &err), err);
	for (i = 0; i < n; i++)
		if (part[i].data) {
			MUST(!cwe_dtype_bytes(part[i].dtype, part[i].rank, part[i].shape, &bytes), err);
			MUST(!cwe_safetensors_writer_write(w, i, 0, part[i].data, bytes, &err), err);
		}
	MUST(!cwe_safetensors_writer_publish(w, &err), err);
	cwe_safetensors_writer_free(w);
	free(plan);
	close(fd);
}

const char *const toy_modules[] = {"model.layers.0.self_attn.q_proj", "model.layers.0.mlp.down_proj",
	"model.layers.1.self_attn.q_proj", "model.layers.1.mlp.down_proj"};
const size_t toy_n_modules = sizeof toy_modules / sizeof *toy_modules;

static const struct cwe_safetensors_plan shapes[] = {
	{"model.embed_tokens.weight", CWE_DTYPE_F32, 2, {40, 64}},
	{"model.layers.0.input_layernorm.weight", CWE_DTYPE_F32, 1, {64}},
	{"model.layers.0.mlp.down_proj.weight", CWE_DTYPE_F32, 2, {64, 160}},
	{"model.layers.0.mlp.gate.weight", CWE_DTYPE_F32, 2, {8, 64}},
	{"model.layers.0.self_attn.q_proj.bias", CWE_DTYPE_F32, 1, {51}},
	{"model.layers.0.self_attn.q_proj.weight", CWE_DTYPE_F32, 2, {51, 64}},
	{"model.layers.1.mlp.down_proj.weight", CWE_DTYPE_F32, 2, {64, 160}},
	{"model.layers.1.self_attn.q_proj.weight", CWE_DTYPE_F32, 2, {48, 64}},
	{"model.norm.weight", CWE_DTYPE_F32, 1, {64}},
};

static void put_text(int folder, const char *name, const char *text)
{
	struct cwb_err err = {0};

	MUST(!cwb_file_replace(folder, name, text, strlen(text), 0644, &err), err);
}

static enum cwe_dtype file_dtype(uint32_t dtype)
{
	return dtype == CWP_F32 ? CWE_DTYPE_F32 : dtype == CWP_F16 ? CWE_DTYPE_F16 : CWE_DTYPE_BF16;
}

void toy_model(const char *folder, uint32_t dtype)
{
	enum { N = sizeof shapes / sizeof *shapes };
	struct cwe_safetensors_plan plan[N];
	struct cwe_safetensors_writer *w;
	struct cwb_err err = {0};
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	uint64_t state = 7, k;
	size_t i;

	memcpy(plan, shapes, sizeof plan);
	for (i = 0; i < N; i++)
		plan[i].dtype = file_dtype(dtype);
	MUST(!cwe_safetensors_writer_new(fd, "model.safetensors", 0, plan, N, NULL, 0, &w, NULL, &err), err);
	for (i = 0; i < N; i++) {
		uint64_t n = plan[i].shape[0] * (plan[i].rank == 2 ? plan[i].shape[1] : 1);
		float *value = malloc(n * sizeof *value);
		uint8_t *raw = malloc(n * 4);

		for (k = 0; k < n; k++)
			value[k] = toy_normal(&state) * 0.05f;
		cwe_f32_to_dtype(raw, value, dtype, n);
		MUST(!cwe_safetensors_writer_write(w, i, 0, raw, n * cwe_cwp_dtype_size(dtype), &err), err);
		free(value);
		free(raw);
	}
	MUST(!cwe_safetensors_writer_publish(w, &err), err);
	cwe_safetensors_writer_free(w);
	put_text(fd, "config.json",
		"{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"rms_norm_eps\": 1e-05, "
		"\"odd\": 0.1234567890123456789, \"rope_parameters\": {\"rope_theta\": 500000.0}, \"dtype\": \"float32\"}");
	put_text(fd, "tokenizer.json", "{\"version\": \"1.0\"}");
	put_text(fd, "generation_config.json", "{\"eos_token_id\": 2}");
	close(fd);
}

void toy_weights(const char *folder, const struct cwe_safetensors_plan *plan, size_t n, uint64_t seed)
{
	static const char config[] = "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\"}";
	struct cwe_safetensors_writer *w;
	struct cwb_err err = {0};
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	uint64_t k;
	size_t i;

	MUST(!cwe_safetensors_writer_new(fd, "model.safetensors", 0, plan, n, NULL, 0, &w, NULL, &err), err);
	for (i = 0; i < n; i++) {
		uint64_t length = plan[i].shape[0] * (plan[i].rank == 2 ? plan[i].shape[1] : 1);
		uint16_t *value = malloc(length * sizeof *value);

		for (k = 0; k < length; k++)
			value[k] = cwe_bf16_from_f32(toy_normal(&seed));
		MUST(!cwe_safetensors_writer_write(w, i, 0, value, length * sizeof *value, &err), err);
		free(value);
	}
	MUST(!cwe_safetensors_writer_publish(w, &err), err);
	cwe_safetensors_writer_free(w);
	put_text(fd, "config.json", config);
	close(fd);
}

struct cwp_grid toy_grid(uint32_t code, uint32_t bits, uint32_t symmetric, uint32_t group, uint32_t activation)
{
	return (struct cwp_grid){.size = sizeof(struct cwp_grid), .code = code, .bits = bits, .symmetric = symmetric,
		.granularity = group ? CWP_PER_GROUP : CWP_PER_CHANNEL, .group = group, .activation = activation};
}

struct cwp_grid toy_tensor_grid(uint32_t code, uint32_t symmetric, uint32_t activation)
{
	return (struct cwp_grid){.size = sizeof(struct cwp_grid), .code = code, .bits = 8, .symmetric = symmetric,
		.granularity = CWP_PER_TENSOR, .activation = activation};
}

struct cwp_grid toy_block_grid(uint32_t rows, uint32_t cols, uint32_t activation_group)
{
	return (struct cwp_grid){.size = sizeof(struct cwp_grid), .code = CWP_CODE_E4M3, .bits = 8, .symmetric = 1,
		.granularity = CWP_PER_BLOCK, .group = cols, .block_rows = rows, .activation_group = activation_group,
		.activation = activation_group ? CWP_ACT_FP8_GROUP : CWP_ACT_NONE};
}

/* Upwards to the next value of BF16. */
static float bf16_up(float x)
{
	uint32_t bits;

	memcpy(&bits, &x, 4);
	bits = (bits + 0xffff) & 0xffff0000u;
	memcpy(&x, &bits, 4);
	return x;
}

/* Rows of one weight that share their scales. */
struct rows {
	const float *w; /* [count, cols] */
	uint64_t count, cols;
	uint8_t *codes;
	float *scales; /* [count, n] */
	int8_t *zeros;
};

/* The same scale for the columns [first, end) of all rows; k: its number in a row. */
static void quantize_columns(const struct cwp_grid *g, const struct rows *q, uint64_t k, uint64_t first, uint64_t end)
{
	uint64_t n = cwe_grid_scales(g, q->cols), r, c;
	int top = (1 << (g->bits - 1)) - 1, zero = q->zeros ? (int)(k % 5) - 2 : 0;
	float absmax = 0, s;

	for (r = 0; r < q->count; r++)
		for (c = first; c < end; c++)
			absmax = fmaxf(absmax, fabsf(q->w[r * q->cols + c]));
	s = bf16_up(absmax / (g->code == CWP_CODE_E4M3 ? 448.0f : (float)top));
	for (r = 0; r < q->count; r++) {
		q->scales[r * n + k] = s;
		if (q->zeros)
			q->zeros[r * n + k] = (int8_t)zero;
		for (c = first; c < end; c++) {
			float v = q->w[r * q->cols + c] / s;
			int code = (int)lrintf(v) + zero;

			q->codes[r * q->cols + c] = g->code == CWP_CODE_E4M3 ? cwe_e4m3_from_f32(v) :
				(uint8_t)(code > top ? top : code < -top - 1 ? -top - 1 : code);
		}
	}
}

static void quantize_rows(const struct cwp_grid *g, const struct rows *q)
{
	uint64_t n = cwe_grid_scales(g, q->cols), width = n > 1 ? g->group : q->cols, k;

	for (k = 0; k < n; k++)
		quantize_columns(g, q, k, k * width, k + 1 < n ? (k + 1) * width : q->cols);
}

void toy_quantize(struct cwe_source *s, const char *module, const struct cwp_grid *grid, double fraction, uint64_t seed,
	struct toy_result *ret)
{
	const struct cwe_tensor *t;
	struct cwb_err err = {0};
	uint64_t rows, cols, n, r, c, share;
	float *w;
	char *name;

	MUST(asprintf(&name, "%s.weight", module) > 0, err);
	t = cwe_weights_find(s->weights, name);
	MUST(t, err);
	free(name);
	rows = t->shape[0];
	cols = t->shape[1];
	n = cwe_grid_scales(grid, cols);
	share = grid->granularity == CWP_PER_TENSOR ? rows : grid->granularity == CWP_PER_BLOCK ? grid->block_rows : 1;
	*ret = (struct toy_result){.name = strdup(module), .stride = (cols + 7) / 8};
	ret->module = (struct cwe_output_module){.name = ret->name, .rows = rows, .cols = cols, .grid = *grid};
	if (grid->activation == CWP_ACT_INT8_TENSOR || grid->activation == CWP_ACT_FP8_TENSOR)
		ret->module.input_scale = grid->activation == CWP_ACT_INT8_TENSOR ? 0.03125f : 0.0078125f;
	ret->module.input_zero = grid->input_zero ? -37 : 0;
	w = malloc(rows * cols * sizeof *w);
	ret->codes = malloc(rows * cols);
	ret->scales = malloc(rows * n * sizeof(float));
	ret->zeros = grid->symmetric ? NULL : malloc(rows * n);
	ret->mask = fraction > 0 ? calloc(rows, ret->stride) : NULL;
	MUST(!cwe_weights_read_f32(s->weights, t, 0, rows, w, &err), err);
	for (r = 0; r < rows; r += share) {
		struct rows q = {w + r * cols, rows - r < share ? rows - r : share, cols, ret->codes + r * cols, ret->scales + r * n,
			ret->zeros ? ret->zeros + r * n : NULL};

		quantize_rows(grid, &q);
	}
	for (r = 0; r < rows && ret->mask; r++)
		for (c = 0; c < cols; c++)
			if ((double)(toy_random(&seed) >> 11) / 9007199254740992.0 < fraction) {
				ret->mask[r * ret->stride + (c >> 3)] |= (uint8_t)(1 << (c & 7));
				ret->module.protected_weights++;
			}
	free(w);
}

void toy_result_free(struct toy_result *r)
{
	free(r->name);
	free(r->codes);
	free(r->scales);
	free(r->zeros);
	free(r->mask);
}

void toy_begin_modules(
	struct toy_world *x, const char *const *modules, size_t n, const struct cwp_grid *grid, double fraction, int carrier)
{
	struct cwb_err err = {0};
	size_t i;

	MUST(n <= sizeof x->result / sizeof *x->result, err);
	x->out = toy_folder();
	MUST(!cwe_source_open(x->model, 0, &x->source, &err), err);
	x->options = (struct cwe_writer_options){x->out, CWJ_FORMAT_COMPRESSED_TENSORS, carrier, 1u << 30};
	memset(x->module, 0, sizeof x->module);
	memset(x->result, 0, sizeof x->result);
	for (i = 0; i < n; i++) {
		toy_quantize(x->source, modules[i], grid, fraction, i + 1, &x->result[i]);
		x->module[i] = x->result[i].module;
	}
}

void toy_begin(struct toy_world *x, uint32_t dtype, const struct cwp_grid *grid, double fraction, int carrier)
{
	x->model = toy_folder();
	toy_model(x->model, dtype);
	toy_begin_modules(x, toy_modules, toy_n_modules, grid, fraction, carrier);
}

void toy_end(struct toy_world *x)
{
	size_t i;

	for (i = 0; i < sizeof x->result / sizeof *x->result; i++)
		toy_result_free(&x->result[i]);
	cwe_source_close(x->source);
	toy_remove(x->model);
	toy_remove(x->out);
	free(x->model);
	free(x->out);
}

void toy_write(struct cwe_source *s, const struct cwe_writer_options *o, const struct toy_result *r, size_t n)
{
	struct cwe_output_module *module = calloc(n + 1, sizeof *module);
	struct cwe_writer *w = NULL;
	struct cwb_err err = {0};
	size_t i, k;

	for (i = 0; i < n; i++)
		module[i] = r[i].module;
	MUST(!cwe_writer_new(s, o, module, n, &w, &err), err);
	for (i = 0; i < n; i++)
		MUST(!cwe_writer_module(w, &r[i].module, r[i].codes, r[i].scales, r[i].zeros, r[i].mask, r[i].stride, &err),
			err);
	for (i = 0; i < s->weights->count; i++) {
		const char *name = s->weights->tensors[i].name;

		for (k = 0; k < n; k++)
			if (strlen(name) == strlen(r[k].module.name) + 7 && !strncmp(name, r[k].module.name, strlen(name) - 7))
				break;
		if (k == n)
			MUST(!cwe_writer_copy(w, name, &err), err);
	}
	MUST(!cwe_writer_finish(w, &err), err);
	cwe_writer_free(w);
	free(module);
}

float *toy_expected(struct cwe_source *s, const struct toy_result *q)
{
	uint64_t rows = q->module.rows, cols = q->module.cols, i;
	const struct cwe_tensor *t;
	struct cwb_err err = {0};
	float *w = malloc(rows * cols * sizeof *w), *exact = malloc(rows * cols * sizeof *exact);
	char *name;

	MUST(asprintf(&name, "%s.weight", q->module.name) > 0, err);
	t = cwe_weights_find(s->weights, name);
	free(name);
	MUST(!cwe_weights_read_f32(s->weights, t, 0, rows, exact, &err), err);
	cwe_dequantize(&q->module.grid, rows, cols, q->codes, q->scales, q->zeros, w);
	for (i = 0; q->mask && i < rows * cols; i++)
		if (q->mask[i / cols * q->stride + (i % cols >> 3)] >> (i % cols & 7) & 1)
			w[i] = exact[i];
	free(exact);
	return w;
}
