/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What is said of a model that gives no numbers. */
#include <inttypes.h>

#include "engine/calibrate/finite.h"
#include "engine/pipeline/benchmark.h"

int cwe_benchmark_broken(struct cwe_run *run, const struct cwe_benchmark *b, uint64_t i, struct cwe_model *model,
	const uint32_t *id, size_t count, struct cwb_err *err)
{
	struct cwp_request q = {0};
	struct cwb_err local = {0};
	char item[128] = "", place[96] = "the output projection";
	int64_t layer = 0;
	int r = cwe_finite_find(model, id, count, &layer, &local);
	if (cwe_benchmark_request(run, b, i, &q, NULL) == 0 && q.item != NULL) {
		(void)snprintf(item, sizeof item, "item %.96s", q.item);
	} else {
		(void)snprintf(item, sizeof item, "request %" PRIu64, i);
	}
	if (r != 0) {
		(void)snprintf(place, sizeof place, "a layer");
	} else if (layer < 0) {
		(void)snprintf(place, sizeof place, "the embedding");
	} else if (layer < (int64_t)model->arch.layers) {
		(void)snprintf(place, sizeof place, "layer %" PRId64, layer);
	}
	return cwb_err_set(err, CWP_ENUMBER, "%s: %s: %s gives NaN or infinity: the model's weights are damaged, or too large once they "
		"are quantized", b->job->name, item, place);
}
