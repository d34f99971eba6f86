/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* quantize_inputs: lines "KIND GROUP ZERO SCALE THRESHOLD ROWS COLS" on standard input, each followed by as many f32; the
 * same numbers come back as the CPU backend's operation fake_quant leaves them. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/device.h"
#include "engine/plugin/pool.h"

static int answer(struct cwe_device *d, const struct cwp_activation *how, uint64_t rows, uint64_t cols)
{
	float *x = malloc(rows * cols * sizeof *x + 1), *y = malloc(rows * cols * sizeof *y + 1);
	uint64_t start[2] = {0, rows};
	struct cwp_activation a = *how;
	int r = -1;

	a.sequences = (struct cwp_sequences){1, start};
	if (x != NULL && y != NULL && fread(x, sizeof *x, rows * cols, stdin) == rows * cols) {
		r = d->ops->fake_quant(d->b, &a, x, rows, cols, y);
	}
	if (r == 0 && (fwrite(y, sizeof *y, rows * cols, stdout) != rows * cols || fflush(stdout) != 0)) {
		r = -1;
	}
	free(x);
	free(y);
	return r;
}

int main(void)
{
	const char *plugins = getenv("CWP_PLUGIN_DIR");
	struct cwb_err err = {0};
	struct cwe_pool *pool = NULL;
	struct cwe_registry *registry = NULL;
	struct cwe_host host;
	struct cwe_device device = {0};
	char line[256];
	int r = plugins == NULL ? -1 : cwe_pool_new(1, &pool, &err);

	if (r == 0) {
		cwe_host_init(&host, pool, 0);
		r = cwe_registry_new(&plugins, 1, CWE_REGISTRY_ANY_OWNER, &registry, &err);
	}
	r = r == 0 ? cwe_device_open(registry, &host, &(struct cwe_device_choice){0}, &device, &err) : r;
	while (r == 0 && fgets(line, sizeof line, stdin) != NULL) {
		struct cwp_activation a = {.size = sizeof a};
		uint64_t rows, cols;

		r = sscanf(line, "%" SCNu32 " %" SCNu32 " %" SCNd32 " %f %f %" SCNu64 " %" SCNu64, &a.kind, &a.group, &a.zero, &a.scale,
			    &a.threshold, &rows, &cols) == 7 ? answer(&device, &a, rows, cols) : -1;
	}
	if (r != 0) {
		(void)fprintf(stderr, "quantize_inputs: %s\n", err.message);
	}
	cwe_device_close(&device);
	cwe_registry_free(registry);
	cwe_pool_free(pool);
	return r != 0;
}
