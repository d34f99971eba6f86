/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Verbs about outputs and jobs: dense, verify, plan. */
#include <stdlib.h>
#include <string.h>

#include "engine/format/manifest.h"
#include "engine/format/output.h"
#include "engine/format/support.h"
#include "engine/pipeline/converted.h"
#include "engine/pipeline/sweep.h"
#include "inspect/inspect.h"

int cwi_dense(const struct cwi_options *o)
{
	struct cwb_err err = {0};
	uint32_t dtype = o->dtype == NULL || strcmp(o->dtype, "f32") == 0 ? CWP_F32 : strcmp(o->dtype, "bf16") == 0 ? CWP_BF16 : 0;
	if (dtype == 0) {
		(void)cwb_err_set(&err, CWP_EVALUE, "--dtype %s is not known; use f32 or bf16", o->dtype);
		(void)cwi_fail(&err);
		return 64;
	}
	int r = cwe_source_dense(o->operand, o->adapters, o->n_adapters, o->out, dtype, 5000000000u, &err);
	return r == 0 ? 0 : cwi_fail(&err);
}

/* The number of a name; -1 with the names in the message. */
static int choose(const char *option, const char *asked, const char *(*name)(size_t i), struct cwb_err *err)
{
	char all[160] = "";
	for (size_t i = 0; name(i) != NULL; i++) {
		if (strcmp(name(i), asked) == 0) {
			return (int)i;
		}
		size_t n = strlen(all);
		(void)snprintf(all + n, sizeof all - n, "%s%s", i > 0 ? ", " : "", name(i));
	}
	(void)cwb_err_set(err, CWP_EVALUE, "%s %s is not known; use one of %s", option, asked, all);
	return -1;
}

static const char *format_name(size_t i)
{
	const struct cwe_format *f = cwe_format_at(i);
	return f != NULL ? f->name : NULL;
}

int cwi_convert(const struct cwi_options *o)
{
	struct cwb_err err = {0};
	char digest[65];
	int format = choose("--format", o->format != NULL ? o->format : "compressed-tensors", format_name, &err);
	int carrier = format >= 0 ? choose("--carrier", o->carrier != NULL ? o->carrier : "overlay", cwe_carrier_name, &err) : -1;
	if (carrier < 0) {
		(void)cwi_fail(&err);
		return 64;
	}
	const struct cwe_convert_options options = {.output = o->operand, .directory = o->out,
		.format = cwe_format_at((size_t)format)->id, .carrier = carrier, .shard = 5000000000u};
	if (cwe_convert(&options, digest, &err) != 0) {
		return cwi_fail(&err);
	}
	cwi_print(json_pack("{s:b,s:s}", "converted", 1, "content_digest", digest));
	return 0;
}

int cwi_verify(const struct cwi_options *o)
{
	struct cwb_err err = {0};
	json_t *manifest = NULL;
	if (cwe_manifest_verify(o->operand, &manifest, &err) != 0) {
		(void)cwi_fail(&err);
		return 65;
	}
	cwi_print(json_pack("{s:b,s:O}", "verified", 1, "content_digest", json_object_get(manifest, "content_digest")));
	json_decref(manifest);
	return 0;
}

int cwi_plan(const struct cwi_options *o)
{
	struct cwb_err err = {0};
	struct cwi_engine e = {0};
	struct cwj_sweep *sweep = NULL;
	json_t *plan = NULL;
	int r = cwj_sweep_read(o->operand, &sweep, &err);
	r = r == 0 ? cwi_engine_open(o, NULL, &e, &err) : r;
	if (r == 0) {
		struct cwe_pipeline p = {.job = sweep->points[0].job, .host = &e.host, .registry = e.registry};
		r = sweep->n_keys > 0 ? cwe_sweep_plan(&p, sweep, &plan, &err) : cwe_pipeline_plan(&p, &plan, &err);
		cwi_engine_close(&e);
	}
	if (r == 0) {
		cwi_print(plan);
	}
	cwj_sweep_free(sweep);
	char line[32];
	(void)snprintf(line, sizeof line, ":%d:", err.line);
	if (err.line > 0 && strstr(err.message, line) == NULL) {
		(void)cwb_err_prefix(&err, "%s:%d:%d: %s", o->operand, err.line, err.column, err.field);
	}
	return r == 0 ? 0 : cwi_fail(&err);
}
