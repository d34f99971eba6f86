/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Making adapters, and merging them once more. */
#include "tests/unit/engine/output/adapters.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/format/safetensors_writer.h"

void adapter_put(const char *folder, const char *file, const struct adapter_tensor *t, size_t n,
	uint64_t seed)
{
	struct cwe_safetensors_plan *plan = calloc(n + 1, sizeof *plan);
	struct cwe_safetensors_writer *w;
	struct cwb_err err = {0};
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	for (size_t i = 0; i < n; i++)
		plan[i] = (struct cwe_safetensors_plan){.name = t[i].name,
			.dtype = t[i].dtype,
			.rank = t[i].cols ? 2 : 1,
			.shape = {t[i].rows, t[i].cols}};
	if (cwe_safetensors_writer_new(fd, file, 0, plan, n, NULL, 0, &w, NULL, &err))
		fail_msg("%s", err.message);
	for (size_t i = 0; i < n; i++) {
		uint64_t count = t[i].rows * (t[i].cols ? t[i].cols : 1);
		uint32_t dtype = cwe_dtype_to_cwp(t[i].dtype);
		size_t size = dtype ? cwe_cwp_dtype_size(dtype) : cwe_dtype_bits(t[i].dtype) / 8;
		float *value = malloc((count + 1) * sizeof *value);
		uint8_t *raw = calloc(count + 1, 8);

		for (uint64_t k = 0; k < count; k++)
			value[k] = 0.3f * toy_normal(&seed);
		if (dtype)
			cwe_f32_to_dtype(raw, value, dtype, count);
		assert_int_equal(cwe_safetensors_writer_write(w, i, 0, raw, count * size, &err), 0);
		free(value);
		free(raw);
	}
	assert_int_equal(cwe_safetensors_writer_publish(w, &err), 0);
	cwe_safetensors_writer_free(w);
	free(plan);
	close(fd);
}

char *adapter_make(const char *config, const struct adapter_tensor *t, size_t n, uint64_t seed)
{
	char *folder = toy_folder(), *path = toy_path(folder, CWE_ADAPTER_CONFIG_FILE);

	toy_put(path, config, strlen(config));
	free(path);
	adapter_put(folder, CWE_ADAPTER_WEIGHTS_FILE, t, n, seed);
	return folder;
}

void adapter_drop(char *folder)
{
	toy_remove(folder);
	free(folder);
}

const struct adapter_tensor adapter_all[8] = {
	{LORA(Q0, "A"), CWE_DTYPE_BF16, 4, 64},
	{LORA(Q0, "B"), CWE_DTYPE_BF16, 51, 4},
	{LORA(Q1, "A"), CWE_DTYPE_BF16, 4, 64},
	{LORA(Q1, "B"), CWE_DTYPE_BF16, 48, 4},
	{LORA(DOWN0, "A"), CWE_DTYPE_BF16, 4, 160},
	{LORA(DOWN0, "B"), CWE_DTYPE_BF16, 64, 4},
	{LORA(DOWN1, "A"), CWE_DTYPE_BF16, 4, 160},
	{LORA(DOWN1, "B"), CWE_DTYPE_BF16, 64, 4},
};

struct cwe_source *adapter_base(const char *folder)
{
	struct cwe_source *s;
	struct cwb_err err = {0};

	if (cwe_source_open(folder, 0, &s, &err))
		fail_msg("%s", err.message);
	return s;
}

struct cwe_source *adapter_open(const char *model, char *const *adapter, size_t n)
{
	struct cwe_source *s = adapter_base(model);
	struct cwb_err err = {0};

	if (cwe_source_adapt(s, adapter, n, &err))
		fail_msg("%s", err.message);
	return s;
}

const struct cwe_tensor *adapter_find(const struct cwe_source *s, const char *module)
{
	const struct cwe_tensor *t;
	char *name;

	assert_true(asprintf(&name, "%s.weight", module) > 0);
	t = cwe_weights_find(s->weights, name);
	assert_non_null(t);
	free(name);
	return t;
}

float *adapter_read(const struct cwe_source *s, const struct cwe_tensor *t)
{
	uint64_t n = t->shape[0] * (t->rank > 1 ? t->shape[1] : 1);
	float *x = malloc(n * sizeof *x);
	struct cwb_err err = {0};

	if (cwe_weights_read_f32(s->weights, t, 0, t->shape[0], x, &err))
		fail_msg("%s", err.message);
	return x;
}

float *adapter_factor(const char *adapter, const char *name)
{
	char *path = toy_path(adapter, CWE_ADAPTER_WEIGHTS_FILE);
	struct cwe_safetensors *file;
	const struct cwe_safetensors_entry *e;
	struct cwb_err err = {0};
	uint8_t *raw;
	float *x;

	assert_int_equal(cwe_safetensors_open(path, &file, &err), 0);
	e = cwe_safetensors_find(file, name);
	assert_non_null(e);
	raw = malloc(e->bytes);
	x = malloc(e->shape[0] * e->shape[1] * sizeof *x);
	assert_int_equal(cwe_safetensors_read(file, e, 0, raw, e->bytes, &err), 0);
	cwe_f32_from_dtype(x, raw, cwe_dtype_to_cwp(e->dtype), e->shape[0] * e->shape[1]);
	free(raw);
	free(path);
	cwe_safetensors_close(file);
	return x;
}

void adapter_add(float *w, uint64_t rows, uint64_t cols, const float *b, const float *a,
	uint64_t rank, double scale)
{
	for (uint64_t r = 0; r < rows; r++)
		for (uint64_t c = 0; c < cols; c++) {
			double sum = 0;

			for (uint64_t k = 0; k < rank; k++)
				sum += (double)b[r * rank + k] * (double)a[k * cols + c];
			w[r * cols + c] = (float)((double)w[r * cols + c] + scale * sum);
		}
}

void adapter_expect(const struct cwe_source *base, const struct cwe_source *adapted,
	const char *tensor_of, const char *folder, const char *a_name, const char *b_name,
	uint64_t rank, double scale)
{
	const struct cwe_tensor *t = adapter_find(base, tensor_of),
				*m = adapter_find(adapted, tensor_of);
	float *w = adapter_read(base, t), *x = adapter_read(adapted, m),
	      *a = adapter_factor(folder, a_name), *b = adapter_factor(folder, b_name);
	uint64_t n = t->shape[0] * t->shape[1], changed = 0;

	for (uint64_t i = 0; i < n; i++)
		changed -= w[i] != x[i] ? UINT64_MAX : 0;
	assert_true(changed > n / 2);
	adapter_add(w, t->shape[0], t->shape[1], b, a, rank, scale);
	assert_memory_equal(w, x, n * sizeof *w);
	assert_int_equal(m->dtype, CWP_F32);
	assert_int_equal(m->stored, t->dtype);
	free(w);
	free(x);
	free(a);
	free(b);
}

void adapter_refuse(const char *model, char *const *adapter, size_t n, int code, const char *part,
	const char *other)
{
	struct cwe_source *s = adapter_base(model);
	struct cwe_weights *before = s->weights;
	struct cwb_err err = {0};
	int rc = cwe_source_adapt(s, adapter, n, &err);

	if (rc != code || err.code != code || !strstr(err.message, part) ||
		!strstr(err.message, other) || strchr(err.message, '\n'))
		fail_msg("%d \"%s\", not %d \"%s\" \"%s\"", rc, err.message, code, part, other);
	/* The source is as before. */
	assert_ptr_equal(s->weights, before);
	assert_int_equal(s->merge_memory, 0);
	free(adapter_read(s, adapter_find(s, Q0)));
	cwe_source_close(s);
}
