/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Tests on a backend with memory of its own: the checking one of tests/plugins/fake. */
#pragma once

#include "engine/model/device.h"

/* The registry that finds it; NULL where its plugin was not built. */
struct cwe_registry *remote_registry(void);
/* Opens it. precision: "f32" or "bf16". Fails the test when that does not work. */
void remote_open(struct cwe_registry *registry, struct cwe_host *host, const char *precision, struct cwe_device *ret);
/* Puts it in the place of a device that was opened, where the environment wants that (CWP_TEST_REMOTE, a precision; CWP_TEST_ROOM:
 * bytes of boundaries that may lie there, all by default). The registry lives as long as the process. */
void remote_replace(struct cwe_host *host, struct cwe_device *device);
