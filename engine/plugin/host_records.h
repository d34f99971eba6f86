/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Records of data files, as plugins get them from the host. Inside of the host. */
#pragma once

#include "engine/plugin/host.h"

/* Fills the members records_* of the host's table. */
void cwe_host_offer_records(struct cwe_host *host);
