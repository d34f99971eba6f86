/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The reading half of compressed-tensors: quantization_config -> the scheme of each module. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "engine/format/compressed_tensors.h"

#define GROUPS_MAX 4096
#define PATTERNS_MAX 256

struct name {
	char *text;
	size_t group;
};

struct pattern {
	char *text;
	pcre2_code *code;
	size_t group;
};

/* Names, patterns and the class of one list or of all groups' lists. */
struct matcher {
	size_t n_names, n_patterns;
	struct name *names;       /* sorted */
	struct pattern *patterns; /* sorted by text, as the library tries them */
	int linear;               /* the class Linear is listed */
	size_t linear_group;
};

struct cwe_ct_config {
	size_t n_groups;
	struct cwe_ct_scheme *scheme;
	struct matcher targets, ignore;
};

static int compile(struct pattern *p, const char *text, size_t group, struct cwb_err *err)
{
	PCRE2_SIZE at;
	int number;

	p->group = group;
	p->text = strdup(text);
	p->code = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, PCRE2_ANCHORED | PCRE2_UTF, &number, &at, NULL);
	if (!p->text || !p->code)
		return cwb_err_set(err, CWP_EVALUE, "quantization_config: pattern \"re:%.80s\" cannot be read", text);
	return 0;
}

static int add_targets(struct matcher *m, const json_t *list, size_t group, struct cwb_err *err)
{
	size_t i, n = json_array_size(list);
	struct name *names = realloc(m->names, (m->n_names + n + 1) * sizeof *names);
	struct pattern *patterns;

	if (names)
		m->names = names;
	patterns = realloc(m->patterns, (m->n_patterns + n + 1) * sizeof *patterns);
	if (patterns)
		m->patterns = patterns;
	if (!names || !patterns)
		return cwb_err_set(err, -ENOMEM, "quantization_config: out of memory");
	for (i = 0; i < n; i++) {
		const char *text = json_string_value(json_array_get(list, i));
		int rc;

		if (!text)
			return cwb_err_set(err, CWP_EVALUE, "quantization_config: targets and ignore hold names only");
		if (!strncmp(text, "re:", 3)) {
			if (m->n_patterns == PATTERNS_MAX)
				return cwb_err_set(err, CWP_ELIMIT, "quantization_config: more than %d patterns", PATTERNS_MAX);
			m->patterns[m->n_patterns] = (struct pattern){0};
			rc = compile(&m->patterns[m->n_patterns++], text + 3, group, err);
			if (rc)
				return rc;
			continue;
		}
		if (!strcmp(text, "Linear") && !m->linear) {
			m->linear = 1;
			m->linear_group = group;
		}
		m->names[m->n_names] = (struct name){strdup(text), group};
		if (!m->names[m->n_names].text)
			return cwb_err_set(err, -ENOMEM, "quantization_config: out of memory");
		m->n_names++;
	}
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct name *)a)->text, ((const struct name *)b)->text);
}

static int by_pattern(const void *a, const void *b)
{
	return strcmp(((const struct pattern *)a)->text, ((const struct pattern *)b)->text);
}

static void matcher_sort(struct matcher *m)
{
	if (m->n_names)
		qsort(m->names, m->n_names, sizeof *m->names, by_name);
	if (m->n_patterns)
		qsort(m->patterns, m->n_patterns, sizeof *m->patterns, by_pattern);
}

static void matcher_free(struct matcher *m)
{
	size_t i;

	for (i = 0; i < m->n_names; i++)
		free(m->names[i].text);
	for (i = 0; i < m->n_patterns; i++) {
		free(m->patterns[i].text);
		pcre2_code_free(m->patterns[i].code);
	}
	free(m->names);
	free(m->patterns);
}

static int pattern_matches(const struct pattern *p, const char *module)
{
	pcre2_match_data *data = pcre2_match_data_create(1, NULL);
	pcre2_match_context *context = pcre2_match_context_create(NULL);
	int rc = -1;

	if (data && context) {
		pcre2_set_match_limit(context, 100000);
		pcre2_set_depth_limit(context, 1000);
		rc = pcre2_match(p->code, (PCRE2_SPTR)module, strlen(module), 0, 0, data, context);
	}
	pcre2_match_context_free(context);
	pcre2_match_data_free(data);
	return rc >= 0;
}

/* The group of a module, or -1. */
static int64_t matcher_find(const struct matcher *m, const char *module)
{
	struct name key = {.text = (char *)module};
	const struct name *found = m->n_names ? bsearch(&key, m->names, m->n_names, sizeof key, by_name) : NULL;
	size_t i;

	if (found)
		return (int64_t)found->group;
	for (i = 0; i < m->n_patterns; i++)
		if (pattern_matches(&m->patterns[i], module))
			return (int64_t)m->patterns[i].group;
	return m->linear ? (int64_t)m->linear_group : -1;
}

static int read_block(const json_t *weights, struct cwe_ct_scheme *s, struct cwb_err *err)
{
	json_t *block = NULL;
	json_int_t rows, cols;
	int rc = cwb_json_get_array(weights, "block_structure", CWB_JSON_REQUIRED, &block, err);

	if (rc)
		return rc;
	rows = json_integer_value(json_array_get(block, 0));
	cols = json_integer_value(json_array_get(block, 1));
	if (json_array_size(block) != 2 || rows < 1 || rows > 65536 || cols < 1 || cols > 65536)
		return cwb_err_set(err, CWP_EVALUE, "quantization_config: weights.block_structure is not two sizes from 1 to 65536");
	s->block_rows = (uint32_t)rows;
	s->group = (uint32_t)cols;
	return 0;
}

static int read_strategy(const json_t *weights, struct cwe_ct_scheme *s, struct cwb_err *err)
{
	const char *strategy = NULL;
	int64_t group = 0;
	int rc = cwb_json_get_string(weights, "strategy", CWB_JSON_OPTIONAL, &strategy, err);

	if (!rc && strategy && !strcmp(strategy, "block"))
		return read_block(weights, s, err);

	if (!rc)
		rc = cwb_json_get_i64(weights, "group_size", CWB_JSON_OPTIONAL, -1, INT32_MAX, &group, err);
	if (rc)
		return rc;
	if (!strategy)
		strategy = group > 0 ? "group" : group < 0 ? "channel" : "tensor";
	if (!strcmp(strategy, "group") && group > 0)
		s->group = (uint32_t)group;
	else if (!strcmp(strategy, "tensor"))
		s->tensor = 1;
	else if (strcmp(strategy, "channel") != 0)
		return cwb_err_set(err, CWP_EVALUE, "quantization_config: weights.strategy \"%.40s\" is not supported "
						    "(group, block, channel, tensor are)",
			strategy);
	return 0;
}

static int read_weights(const json_t *group, struct cwe_ct_scheme *s, struct cwb_err *err)
{
	json_t *weights = NULL;
	const char *type = "int", *order = NULL;
	uint64_t bits = 8;
	int symmetric = 1, rc;

	rc = cwb_json_get_object(group, "weights", CWB_JSON_REQUIRED, &weights, err);
	if (!rc)
		rc = cwb_json_get_string(weights, "type", CWB_JSON_OPTIONAL, &type, err);
	if (!rc)
		rc = cwb_json_get_u64(weights, "num_bits", CWB_JSON_OPTIONAL, 1, 16, &bits, err);
	if (!rc)
		rc = cwb_json_get_bool(weights, "symmetric", CWB_JSON_OPTIONAL, &symmetric, err);
	if (!rc)
		rc = cwb_json_get_string(weights, "actorder", CWB_JSON_OPTIONAL, &order, err);
	if (!rc)
		rc = read_strategy(weights, s, err);
	if (rc)
		return rc;
	if (order && !strcmp(order, "group"))
		return cwb_err_set(err, CWP_EVALUE, "quantization_config: actorder \"group\" is not supported: quantize again "
						    "without it");
	s->bits = (uint32_t)bits;
	s->symmetric = (uint32_t)symmetric;
	s->code = !strcmp(type, "float") ? CWP_CODE_E4M3 : CWP_CODE_INT;
	if ((strcmp(type, "float") != 0 && strcmp(type, "int") != 0) || (bits != 8 && (bits != 4 || s->code == CWP_CODE_E4M3)) ||
		(s->code == CWP_CODE_E4M3 && !symmetric) || (s->block_rows && s->code != CWP_CODE_E4M3))
		return cwb_err_set(err, CWP_EVALUE,
			"quantization_config: weights of type \"%.20s\" with %" PRIu64 " bits%s are not supported (int 4, int 8, "
			"float 8, which blocks are for, are)",
			type, bits, s->block_rows ? " by block" : "");
	return 0;
}

static int read_activations(const json_t *group, struct cwe_ct_scheme *s, struct cwb_err *err)
{
	json_t *a = NULL;
	const char *type = "int", *strategy = "tensor";
	uint64_t bits = 8, width = 0;
	int dynamic = 0, symmetric = 1, rc, fp8;

	rc = cwb_json_get_object(group, "input_activations", CWB_JSON_OPTIONAL, &a, err);
	if (rc || !a)
		return rc;
	rc = cwb_json_get_string(a, "type", CWB_JSON_OPTIONAL, &type, err);
	if (!rc)
		rc = cwb_json_get_string(a, "strategy", CWB_JSON_OPTIONAL, &strategy, err);
	if (!rc)
		rc = cwb_json_get_u64(a, "num_bits", CWB_JSON_OPTIONAL, 1, 16, &bits, err);
	if (!rc)
		rc = cwb_json_get_bool(a, "dynamic", CWB_JSON_OPTIONAL, &dynamic, err);
	if (!rc)
		rc = cwb_json_get_bool(a, "symmetric", CWB_JSON_OPTIONAL, &symmetric, err);
	if (!rc && !strcmp(strategy, "group"))
		rc = cwb_json_get_u64(a, "group_size", CWB_JSON_REQUIRED, 1, 65536, &width, err);
	if (rc)
		return rc;
	fp8 = !strcmp(type, "float");
	if (bits == 8 && dynamic && symmetric && !strcmp(strategy, "token"))
		s->activation = fp8 ? CWP_ACT_FP8_TOKEN : CWP_ACT_INT8_TOKEN;
	else if (bits == 8 && dynamic && symmetric && fp8 && !strcmp(strategy, "group"))
		s->activation = CWP_ACT_FP8_GROUP;
	else if (bits == 8 && !dynamic && (symmetric || !fp8) && !strcmp(strategy, "tensor"))
		s->activation = fp8 ? CWP_ACT_FP8_TENSOR : CWP_ACT_INT8_TENSOR;
	else
		return cwb_err_set(err, CWP_EVALUE,
			"quantization_config: input_activations of %" PRIu64 " bits, %s%ssymmetric, by \"%.20s\" are not supported (8 bits: "
			"dynamic and symmetric by token, FP8 by group; static by tensor)",
			bits, dynamic ? "dynamic, " : "", symmetric ? "" : "a", strategy);
	s->activation_group = s->activation == CWP_ACT_FP8_GROUP ? (uint32_t)width : 0;
	s->input_zero = !symmetric;
	return 0;
}

/* A group's format, else the common one, else what the library would infer. */
static int read_format(const json_t *object, const json_t *group, struct cwe_ct_scheme *s, struct cwb_err *err)
{
	const struct {
		const char *name;
		enum cwe_ct_format format;
	} known[] = {{"int-quantized", CWE_CT_INT}, {"float-quantized", CWE_CT_FLOAT}, {"naive-quantized", CWE_CT_NAIVE},
		{"pack-quantized", CWE_CT_PACK}};
	const char *name = NULL;
	int rc = cwb_json_get_string(group, "format", CWB_JSON_OPTIONAL, &name, err);
	size_t i;

	if (!rc && !name)
		rc = cwb_json_get_string(object, "format", CWB_JSON_OPTIONAL, &name, err);
	if (rc)
		return rc;
	if (!name)
		name = s->code == CWP_CODE_E4M3 ? (s->activation ? "float-quantized" : "naive-quantized")
		       : s->activation          ? "int-quantized"
						: "pack-quantized";
	for (i = 0; i < sizeof known / sizeof *known; i++)
		if (!strcmp(name, known[i].name))
			s->format = known[i].format;
	if (!s->format)
		return cwb_err_set(err, CWP_EVALUE,
			"quantization_config: format \"%.40s\" is not supported (int-quantized, float-quantized, naive-quantized, "
			"pack-quantized are)",
			name);
	if ((s->format == CWE_CT_PACK && s->code == CWP_CODE_E4M3) || (s->format != CWE_CT_PACK && s->bits != 8))
		return cwb_err_set(err, CWP_EVALUE, "quantization_config: format \"%s\" does not fit its weights", name);
	return 0;
}

static int read_groups(const json_t *object, struct cwe_ct_config *c, struct cwb_err *err)
{
	json_t *groups = NULL, *group;
	const char *name;
	int rc = cwb_json_get_object(object, "config_groups", CWB_JSON_REQUIRED, &groups, err);

	if (rc)
		return rc;
	if (!json_object_size(groups) || json_object_size(groups) > GROUPS_MAX)
		return cwb_err_set(err, CWP_EVALUE, "quantization_config: %zu config_groups (1 .. %d are supported)",
			json_object_size(groups), GROUPS_MAX);
	c->scheme = calloc(json_object_size(groups), sizeof *c->scheme);
	if (!c->scheme)
		return cwb_err_set(err, -ENOMEM, "quantization_config: out of memory");
	json_object_foreach (groups, name, group) {
		struct cwe_ct_scheme *s = &c->scheme[c->n_groups];
		json_t *targets = NULL;

		rc = json_is_object(group) ? 0 : cwb_err_set(err, CWP_EVALUE, "not an object");
		if (!rc)
			rc = read_weights(group, s, err);
		if (!rc)
			rc = read_activations(group, s, err);
		if (!rc)
			rc = read_format(object, group, s, err);
		if (!rc)
			rc = cwb_json_get_array(group, "targets", CWB_JSON_REQUIRED, &targets, err);
		if (!rc)
			rc = add_targets(&c->targets, targets, c->n_groups, err);
		if (rc)
			return cwb_err_prefix(err, "config_groups.%.40s", name), rc;
		c->n_groups++;
	}
	return 0;
}

int cwe_ct_config_read(const json_t *object, struct cwe_ct_config **ret, struct cwb_err *err)
{
	struct cwe_ct_config *c = calloc(1, sizeof *c);
	const char *status = NULL;
	json_t *ignore = NULL;
	int rc;

	if (!c)
		return cwb_err_set(err, -ENOMEM, "quantization_config: out of memory");
	rc = cwb_json_get_string(object, "quantization_status", CWB_JSON_REQUIRED, &status, err);
	if (!rc && strcmp(status, "compressed") != 0)
		rc = cwb_err_set(err, CWP_EVALUE, "quantization_config: quantization_status \"%.40s\" is not \"compressed\"",
			status);
	if (!rc && json_is_object(json_object_get(object, "kv_cache_scheme")))
		rc = cwb_err_set(err, CWP_EVALUE, "quantization_config: kv_cache_scheme is not supported: remove it to compute "
						  "without a quantized cache");
	if (!rc)
		rc = read_groups(object, c, err);
	if (!rc)
		rc = cwb_json_get_array(object, "ignore", CWB_JSON_OPTIONAL, &ignore, err);
	if (!rc && ignore)
		rc = add_targets(&c->ignore, ignore, 0, err);
	if (rc) {
		cwe_ct_config_free(c);
		return rc;
	}
	matcher_sort(&c->targets);
	matcher_sort(&c->ignore);
	*ret = c;
	return 0;
}

void cwe_ct_config_free(struct cwe_ct_config *c)
{
	if (!c)
		return;
	matcher_free(&c->targets);
	matcher_free(&c->ignore);
	free(c->scheme);
	free(c);
}

const struct cwe_ct_scheme *cwe_ct_config_find(const struct cwe_ct_config *c, const char *module)
{
	int64_t group;

	if (!module)
		return &c->scheme[0];
	if (matcher_find(&c->ignore, module) >= 0)
		return NULL;
	group = matcher_find(&c->targets, module);
	return group < 0 ? NULL : &c->scheme[group];
}
