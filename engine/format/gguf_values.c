/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* GGUF's metadata by type. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "engine/format/gguf.h"

static const char *const kind_name[CWE_GGUF_KINDS] = {"u8", "i8", "u16", "i16", "u32", "i32", "f32", "a truth value",
	"a string", "an array", "u64", "i64", "f64"};

static int wrong_kind(const struct cwe_gguf *g, const struct cwe_gguf_value *v, const char *wanted, struct cwb_err *err)
{
	return cwb_err_set(err, CWP_EVALUE, "%s: %.100s: needs %s, found %s%s", g->input.path, v->key, wanted,
		v->is_array ? "an array of " : "", kind_name[v->kind]);
}

/* The i-th element of integers, with its sign in all 64 bits; 0, or -1 when it is no integer. */
static int as_integer(const struct cwe_gguf_value *v, uint64_t i, uint64_t *ret, int *ret_negative)
{
	static const uint8_t size[CWE_GGUF_KINDS] = {1, 1, 2, 2, 4, 4, 0, 0, 0, 0, 8, 8, 0};
	int is_signed = v->kind == CWE_GGUF_I8 || v->kind == CWE_GGUF_I16 || v->kind == CWE_GGUF_I32 || v->kind == CWE_GGUF_I64;
	unsigned bits = 8u * size[v->kind];
	uint64_t n = 0;

	if (!bits)
		return -1;
	memcpy(&n, v->data + i * size[v->kind], size[v->kind]);
	*ret_negative = is_signed && n >> (bits - 1);
	if (*ret_negative && bits < 64)
		n |= UINT64_MAX << bits;
	*ret = n;
	return 0;
}

int cwe_gguf_get_u64(const struct cwe_gguf *g, const char *key, uint64_t low, uint64_t high, uint64_t *ret,
	struct cwb_err *err)
{
	const struct cwe_gguf_value *v = cwe_gguf_value(g, key);
	int negative;
	uint64_t n;

	if (!v)
		return 0;
	if (v->is_array || as_integer(v, 0, &n, &negative) || negative)
		return wrong_kind(g, v, "an integer from 0 on", err);
	if (n < low || n > high)
		return cwb_err_set(err, CWP_EVALUE, "%s: %s: %" PRIu64 " is outside %" PRIu64 "..%" PRIu64, g->input.path, key, n,
			low, high);
	*ret = n;
	return 1;
}

int cwe_gguf_need_u64(const struct cwe_gguf *g, const char *key, uint64_t high, uint64_t *ret, struct cwb_err *err)
{
	int rc = cwe_gguf_get_u64(g, key, 1, high, ret, err);

	if (rc == 0)
		return cwb_err_set(err, CWP_EMISSING, "%s: key %s is absent", g->input.path, key);
	return rc < 0 ? rc : 0;
}

int cwe_gguf_get_number(const struct cwe_gguf *g, const char *key, double *ret, struct cwb_err *err)
{
	const struct cwe_gguf_value *v = cwe_gguf_value(g, key);
	float x = 0;
	int negative, rc = 1;
	uint64_t n;

	if (!v)
		return 0;
	if (v->is_array || v->kind == CWE_GGUF_STRING)
		return wrong_kind(g, v, "a number", err);
	if (!as_integer(v, 0, &n, &negative)) {
		*ret = negative ? (double)(int64_t)n : (double)n;
	} else if (v->kind == CWE_GGUF_BOOL) {
		*ret = v->data[0];
	} else {
		rc = cwe_gguf_get_f32(g, key, &x, err);
		if (rc > 0)
			*ret = (double)x;
	}
	return rc;
}

int cwe_gguf_get_f32(const struct cwe_gguf *g, const char *key, float *ret, struct cwb_err *err)
{
	const struct cwe_gguf_value *v = cwe_gguf_value(g, key);
	double wide;
	float x;

	if (!v)
		return 0;
	if (v->is_array || (v->kind != CWE_GGUF_F32 && v->kind != CWE_GGUF_F64))
		return wrong_kind(g, v, "f32", err);
	if (v->kind == CWE_GGUF_F64) {
		memcpy(&wide, v->data, sizeof wide);
		x = (float)wide;
	} else {
		memcpy(&x, v->data, sizeof x);
	}
	if (!isfinite(x))
		return cwb_err_set(err, CWP_EVALUE, "%s: %s: not a finite number", g->input.path, key);
	*ret = x;
	return 1;
}

int cwe_gguf_get_bool(const struct cwe_gguf *g, const char *key, int *ret, struct cwb_err *err)
{
	const struct cwe_gguf_value *v = cwe_gguf_value(g, key);

	if (!v)
		return 0;
	if (v->is_array || v->kind != CWE_GGUF_BOOL)
		return wrong_kind(g, v, kind_name[CWE_GGUF_BOOL], err);
	*ret = v->data[0];
	return 1;
}

int cwe_gguf_get_string(const struct cwe_gguf *g, const char *key, const char **ret, struct cwb_err *err)
{
	const struct cwe_gguf_value *v = cwe_gguf_value(g, key);

	if (!v)
		return 0;
	if (v->is_array || v->kind != CWE_GGUF_STRING)
		return wrong_kind(g, v, kind_name[CWE_GGUF_STRING], err);
	if (strlen((const char *)v->data) + 1 != v->starts[1])
		return cwb_err_set(err, CWP_EVALUE, "%s: %s: holds a NUL byte", g->input.path, key);
	*ret = (const char *)v->data;
	return 1;
}

int cwe_gguf_get_array(const struct cwe_gguf *g, const char *key, enum cwe_gguf_kind kind,
	const struct cwe_gguf_value **ret, struct cwb_err *err)
{
	const struct cwe_gguf_value *v = cwe_gguf_value(g, key);

	if (!v)
		return 0;
	if (!v->is_array || v->kind != kind)
		return cwb_err_set(err, CWP_EVALUE, "%s: %s: needs an array of %s, found %s%s", g->input.path, key,
			kind_name[kind], v->is_array ? "one of " : "", kind_name[v->kind]);
	*ret = v;
	return 1;
}
