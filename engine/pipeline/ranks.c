/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* score.combine: rank: one walk over the sets' tiles counts where their importances lie. */
#include "engine/pipeline/run.h"
#include "engine/pipeline/tiles.h"

/* One layer of a set. Its digest is checked, for ranks of damaged scores would look like good ones. */
static int count_layer(const struct cwe_run *run, struct cwe_tiles *tiles, uint32_t layer, uint32_t set, float *buffer,
	struct cwe_rank *rank, struct cwb_err *err)
{
	struct cwe_tile tile;
	if (!tiles->layer[layer].done) {
		return cwb_err_set(err, CWP_EDIGEST, "scratch: the scores of layer %u are gone; run the job again", layer);
	}
	int r = cwe_tile_open(tiles, layer, set, &tile, err);
	if (r != 0) {
		return r;
	}
	for (size_t i = run->layer_at[layer]; r == 0 && i < run->layer_at[layer + 1]; i++) {
		const struct cwe_run_module *m = &run->module[i];
		uint64_t n = m->quantized ? m->rows * m->cols : 0;
		r = n > 0 ? cwe_tile_read(&tile, buffer, n, err) : 0;
		if (r == 0) {
			cwe_rank_feed(rank, buffer, n);
		}
	}
	return cwe_tile_verify(tiles, layer, set, &tile, r, err);
}

int cwe_run_ranks(struct cwe_run *run, struct cwe_tiles *tiles, struct cwe_combine *c, float *buffer, struct cwb_err *err)
{
	int r = 0;
	for (uint32_t set = 0; r == 0 && set < c->sets; set++) {
		if (c->factor[set] == 0) {
			continue; /* an ignored set has no part in the score */
		}
		r = cwe_rank_begin(&c->rank[set], err);
		for (uint32_t layer = 0; r == 0 && layer < tiles->layers; layer++) {
			r = count_layer(run, tiles, layer, set, buffer, &c->rank[set], err);
			r = r == 0 ? cwe_run_cancelled(run, err) : r;
		}
		if (r == 0) {
			cwe_rank_finish(&c->rank[set]);
			run->set_value[set] = c->rank[set].sum;
		}
	}
	return r;
}
