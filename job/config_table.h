/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The configuration's schema. Internal to this room. */
#pragma once

#include "job/config.h"
#include "job/schema.h"

extern const struct cwj_table cwj_config_table; /* of struct cwj_config */
extern const struct cwj_custom cwj_config_gpus;
