/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Experts that no token of the calibration reached. */
#include <errno.h>
#include <string.h>

#include "engine/pipeline/unseen.h"

int cwe_unseen_note(const struct cwe_run *run, uint32_t layer, const uint8_t *seen, json_t **ret, struct cwb_err *err)
{
	/* Where no sample is run for the scorer, no token comes anywhere. */
	int measured = (run->needs & ~(uint32_t)CWP_STAT_QUANT_ERROR) != 0 && cwe_arch_layer_is(&run->model.arch, layer, CWE_LAYER_MOE);
	size_t n = measured ? run->layer_at[layer + 1] - run->layer_at[layer] : 0;
	json_t *list = json_array(), *note = NULL;
	int failed = list == NULL;
	for (size_t i = 0; !failed && i < n; i++) {
		failed = !seen[i] && json_array_append_new(list, json_integer((json_int_t)i)) != 0;
	}
	if (!failed && json_array_size(list) > 0) {
		note = json_pack("{s:O}", "unseen", list);
		failed = note == NULL;
	}
	json_decref(list);
	if (failed) {
		return cwb_err_set(err, -ENOMEM, "no memory for the journal");
	}
	json_decref(*ret);
	*ret = note;
	return 0;
}

/* A module's expert is what stands before its last dot; its matrices follow each other. */
static int add_expert(json_t *names, const struct cwe_run_module *m)
{
	const char *last = json_string_value(json_array_get(names, json_array_size(names) - 1));
	const char *dot = strrchr(m->name, '.');
	size_t n = dot != NULL ? (size_t)(dot - m->name) : strlen(m->name);
	if (last != NULL && strlen(last) == n && strncmp(last, m->name, n) == 0) {
		return 0;
	}
	return json_array_append_new(names, json_stringn(m->name, n));
}

static size_t count_experts(const struct cwe_run *run)
{
	size_t n = 0;
	for (uint32_t l = 0; l < run->model.arch.layers; l++) {
		n += cwe_arch_layer_is(&run->model.arch, l, CWE_LAYER_MOE) ? run->model.arch.moe.experts : 0;
	}
	return n;
}

/* Once, and where a person looks: in the log and in the report. */
static int warn(struct cwe_run *run, struct cwb_err *err)
{
	const struct cwp_host *host = &run->p->host->table;
	size_t n = json_array_size(run->unseen);
	int r = cwe_run_warn(run, err, "calibrate: no token of any set reached %zu of %zu experts, such as %s: nothing is known of "
		"their weights, which count 0; more samples, or other ones, reach more", n, count_experts(run),
		json_string_value(json_array_get(run->unseen, 0)));
	if (r == 0) {
		host->log(host->ctx, CWP_LOG_WARNING, json_string_value(json_array_get(run->warnings,
			json_array_size(run->warnings) - 1)));
	}
	return r;
}

int cwe_unseen_report(struct cwe_run *run, const struct cwe_tiles *tiles, struct cwb_err *err)
{
	int again = run->unseen != NULL, r = 0;
	json_decref(run->unseen);
	run->unseen = json_array();
	if (run->unseen == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for the names of experts");
	}
	for (uint32_t l = 0; r == 0 && l < tiles->layers; l++) {
		const json_t *one;
		size_t i;
		json_array_foreach (json_object_get(tiles->layer[l].note, "unseen"), i, one) {
			json_int_t at = json_integer_value(one);
			if (r == 0 && at >= 0 && (size_t)at < run->layer_at[l + 1] - run->layer_at[l]) {
				r = add_expert(run->unseen, &run->module[run->layer_at[l] + (size_t)at]);
			}
		}
	}
	if (r != 0) {
		return cwb_err_set(err, -ENOMEM, "no memory for the names of experts");
	}
	return json_array_size(run->unseen) > 0 && !again ? warn(run, err) : 0;
}
