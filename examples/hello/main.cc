// SPDX-License-Identifier: Apache-2.0
//
// The smallest program: two processes beside this one share the work on one tensor.
#include <echelon/echelon.h>
#include <cstdio>

int main() {
  echelon::Worker host({.level = 3, .name = "host0", .sub_workers = 2});
  auto scale = host.register_sub("scale", [](echelon::Task& task) {
    auto x = task.tensor<const float>(0);
    auto y = task.tensor<float>(1);
    for (std::size_t i = 0; i < x.size(); ++i) y[i] = task.scalar<float>(0) * x[i];
  });
  auto x = host.tensor<float>({1024}), y = host.tensor<float>({1024});
  for (float& value : x.data<float>()) value = 21.0f;

  host.run([&](echelon::Orchestrator& orch) {
    for (int begin : {0, 512}) {  // the halves do not touch: they run side by side
      orch.submit(scale, echelon::Args()
                             .input(x.slice(0, begin, begin + 512))
                             .output(y.slice(0, begin, begin + 512))
                             .scalar(2.0f));
    }
  });
  std::printf("hello: 2 x 21 = %g, worked out by\n%s\n",
              static_cast<double>(y.data<const float>()[1023]), host.describe().c_str());
}
