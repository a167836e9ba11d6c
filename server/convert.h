// Messages of the wire to values of the core and back: what has no defaults and cannot fail.
// Settings are job_spec.h's.
#pragma once

#include "agent/agent.h"
#include "agent/search.h"
#include "amc/v1/model.pb.h"
#include "env/cost/policy.h"
#include "env/env.h"
#include "env/evaluator.h"

namespace amc {

v1::Cost ToProto(const Cost& cost);
v1::Policy ToProto(const Policy& policy);
v1::Measurement ToProto(const Measurement& measurement);  // without `seconds`
// Number, steps, policy, cost, measurement, reward and note, as drawn in `env`; the rest is the
// caller's.
v1::Episode ToProto(const EvaluatedEpisode& evaluated, const Environment& env);

Cost FromProto(const v1::Cost& cost);
Policy FromProto(const v1::Policy& policy);
Measurement FromProto(const v1::Measurement& measurement);
// `env` is one of the episode's network: which steps were asked about.
Episode FromProto(const v1::Episode& episode, const Environment& env);

}  // namespace amc
