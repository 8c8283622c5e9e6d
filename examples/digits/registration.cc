// SPDX-License-Identifier: Apache-2.0
#include "callables.h"

namespace echelon::digits {

Callables register_callables(Worker& pod, const CodePaths& paths) {
  pod.register_library(paths.callables);
  for (const char* kernel : {kGradient, kPredict}) {
    pod.register_chip(kernel, ChipImage::from_file(paths.kernel, kernel));
  }
  for (const char* of_the_hosts : {kRead, kAdd}) pod.register_sub(of_the_hosts);
  Callables pods;
  pods.shuffle = pod.register_sub(kShuffle);
  pods.descend = pod.register_sub(kDescend);
  pods.report = pod.register_sub(kReport);
  pods.step = pod.register_orch(kStep);
  pods.evaluate = pod.register_orch(kEvaluate);
  return pods;
}

Args& add_shape(Args& args, const ModelShape& shape) {
  for (const std::size_t units : {shape.features, shape.hidden, shape.classes}) {
    args.scalar(static_cast<std::int32_t>(units));
  }
  return args;
}

}  // namespace echelon::digits
