// SPDX-License-Identifier: Apache-2.0
#include "process/registrar_jobs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <memory>
#include <thread>
#include <vector>

namespace echelon {
namespace {

using Finish = RegistrarJobs::Finish;
using testing::ElementsAre;

TEST(RegistrarJobsTest, TheyAreDoneInOrderEachWithItsFinish) {
  RegistrarJobs jobs;
  std::vector<int> done;
  for (const int number : {1, 2}) {
    jobs.add([&done, number]() -> Finish {
      done.push_back(number);
      return [&done, number] {
        done.push_back(10 * number);
        return true;
      };
    });
  }
  EXPECT_TRUE(jobs.waiting());
  jobs.work();
  EXPECT_FALSE(jobs.waiting());
  EXPECT_THAT(done, ElementsAre(1, 10, 2, 20));
}

TEST(RegistrarJobsTest, AFinishIsCalledAgainUntilItSucceeds) {
  RegistrarJobs jobs;
  int calls = 0;
  jobs.add([&]() -> Finish { return [&] { return ++calls == 3; }; });
  jobs.work();
  EXPECT_EQ(calls, 3);
}

TEST(RegistrarJobsTest, WhatAJobPostsIsDoneByWhoeverIsAtWork) {
  RegistrarJobs jobs;
  int wakes = 0;
  bool done = false;
  jobs.when_posted([&] { ++wakes; });
  jobs.add([&]() -> Finish {
    jobs.post([&]() -> Finish {
      done = true;
      return [] { return true; };
    });
    return [] { return true; };
  });
  jobs.work();
  EXPECT_TRUE(done);
  EXPECT_EQ(wakes, 1);
}

TEST(RegistrarJobsTest, OneThreadIsAtWorkAtATime) {
  RegistrarJobs jobs;
  std::promise<void> begun;
  std::promise<void> end;
  bool second = false;
  jobs.add([&]() -> Finish {
    begun.set_value();
    end.get_future().wait();
    return [] { return true; };
  });
  std::thread worker([&] { jobs.work(); });
  begun.get_future().wait();
  jobs.add([&]() -> Finish {
    second = true;
    return [] { return true; };
  });
  EXPECT_FALSE(jobs.waiting()) << "somebody is at work";
  jobs.work();
  EXPECT_FALSE(second);
  end.set_value();
  worker.join();
  EXPECT_TRUE(second);
}

TEST(RegistrarJobsTest, StoppingNamesTheThreadThatAJobHoldsAndDropsTheRest) {
  RegistrarJobs jobs;
  std::promise<void> begun;
  std::promise<void> end;
  std::atomic<bool> finished{false};
  jobs.add([&]() -> Finish {
    begun.set_value();
    end.get_future().wait();
    return [&] { return finished = true; };
  });
  const auto kept = std::make_shared<int>(1);
  std::thread worker([&] { jobs.work(); });
  begun.get_future().wait();
  jobs.add([kept]() -> Finish { return [] { return true; }; });
  EXPECT_EQ(jobs.stop(), worker.get_id());
  EXPECT_EQ(kept.use_count(), 1);
  end.set_value();
  worker.join();
  EXPECT_FALSE(finished);
  EXPECT_FALSE(jobs.wait());
}

}  // namespace
}  // namespace echelon
