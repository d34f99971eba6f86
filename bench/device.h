/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What programs that measure a backend open: threads, plugins ($CWP_PLUGIN_DIR, or the build's own), a device. */
#ifndef BENCH_DEVICE_H
#define BENCH_DEVICE_H

#include "engine/model/device.h"

struct bench_device {
	struct cwe_pool *pool;
	struct cwe_host host;
	struct cwe_registry *registry;
	struct cwe_device device;
};

/* Threads and plugins. threads: 0 all. *d is zeroed before, and to be closed whatever comes back. */
int bench_device_prepare(struct bench_device *d, uint32_t threads, struct cwb_err *err);
/* Then the device. precision: f32 or bf16. */
int bench_device_open(struct bench_device *d, const char *backend, const char *precision, struct cwb_err *err);
void bench_device_close(struct bench_device *d);

#endif
