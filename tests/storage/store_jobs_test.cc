// Jobs, events, checkpoints and workers in the store.
#include <algorithm>

#include "tests/storage/store_fixture.h"

namespace amc {
namespace {

using absl::StatusCode;
using testing::ElementsAre;
using testing::IsEmpty;

using StoreJobsTest = StoreTest;

std::vector<std::string> Ids(const v1::ListJobsResponse& response) {
  std::vector<std::string> ids;
  for (const v1::Job& job : response.jobs()) ids.push_back(job.id());
  return ids;
}

TEST_F(StoreJobsTest, ReturnsAJobAsItWasCreated) {
  v1::Job expected = SampleJob("a");
  expected.set_last_sequence(1);
  EXPECT_THAT(Create("a"), SameAs(expected));
  EXPECT_THAT(*store_->GetJob("a"), SameAs(expected));
  Reopen();
  EXPECT_THAT(*store_->GetJob("a"), SameAs(expected));
}

TEST_F(StoreJobsTest, RepeatedRequestReturnsTheStoredJob) {
  Create("a");
  const auto repeat = store_->CreateJob(SampleJob("b"), "request-a", "hash", {});
  ASSERT_THAT(repeat, IsOk());
  EXPECT_EQ(repeat->id(), "a");
  EXPECT_THAT(store_->GetJob("b"), Fails(StatusCode::kNotFound, "\"b\""));
  EXPECT_EQ(store_->Events("a", 0, 10)->size(), 1u);
}

TEST_F(StoreJobsTest, RepeatedRequestWithAnotherSpecIsRefused) {
  Create("a");
  EXPECT_THAT(store_->CreateJob(SampleJob("b"), "request-a", "other", {}),
              Fails(StatusCode::kAlreadyExists, "request-a"));
  EXPECT_THAT(store_->CreateJob(SampleJob("a"), "request-b", "hash", {}),
              Fails(StatusCode::kAlreadyExists, "job \"a\""));
  EXPECT_THAT(store_->CreateJob(SampleJob(""), "request-c", "hash", {}),
              Fails(StatusCode::kInvalidArgument, "id"));
  EXPECT_THAT(store_->CreateJob(SampleJob("c"), "", "hash", {}),
              Fails(StatusCode::kInvalidArgument, "request_id"));
}

TEST_F(StoreJobsTest, UnknownJobIsNotFoundEverywhere) {
  v1::ListEpisodesRequest list;
  list.set_job("x");
  EXPECT_THAT(store_->GetJob("x"), Fails(StatusCode::kNotFound, "\"x\""));
  EXPECT_THAT(store_->UpdateJob({SampleJob("x"), {}}), Fails(StatusCode::kNotFound, "\"x\""));
  EXPECT_THAT(store_->DeleteJob("x"), Fails(StatusCode::kNotFound, "\"x\""));
  EXPECT_THAT(store_->Events("x", 0, 10), Fails(StatusCode::kNotFound, "\"x\""));
  EXPECT_THAT(store_->AddTasks({SampleTask("x", 0)}), Fails(StatusCode::kNotFound, "\"x\""));
  EXPECT_THAT(store_->Tasks("x"), Fails(StatusCode::kNotFound, "\"x\""));
  EXPECT_THAT(LeaseTask(*store_, "x", 1, "w", "n", 0, 1), Fails(StatusCode::kNotFound, "\"x\""));
  EXPECT_THAT(store_->CompleteTask("x", 1, 1, SampleResult(), 0),
              Fails(StatusCode::kNotFound, "\"x\""));
  EXPECT_THAT(store_->Attempts("x"), Fails(StatusCode::kNotFound, "\"x\""));
  EXPECT_THAT(store_->CommitGeneration({SampleJob("x"), {}}, {}, ""),
              Fails(StatusCode::kNotFound, "\"x\""));
  EXPECT_THAT(store_->Checkpoint("x"), Fails(StatusCode::kNotFound, "\"x\""));
  EXPECT_THAT(store_->ListEpisodes(list), Fails(StatusCode::kNotFound, "\"x\""));
  EXPECT_THAT(store_->GetEpisode("x", 0), Fails(StatusCode::kNotFound, "\"x\""));
  EXPECT_THAT(store_->BestEpisode("x"), Fails(StatusCode::kNotFound, "\"x\""));
}

TEST_F(StoreJobsTest, UpdateStoresTheJobWholeWithItsEvents) {
  v1::Job job = Create("a");
  job.set_state(v1::JOB_STATE_SUCCEEDED);
  job.set_message("done");
  job.mutable_result()->set_model("digest");
  job.mutable_spec()->mutable_search()->set_episodes(9);
  job.set_last_sequence(99);  // the store counts, not the caller
  ASSERT_THAT(store_->UpdateJob({job,
                                 {SampleEvent(v1::EVENT_KIND_RESULT, "first"),
                                  SampleEvent(v1::EVENT_KIND_STATE, "second")}}),
              IsOk());
  job.set_last_sequence(3);
  EXPECT_THAT(*store_->GetJob("a"), SameAs(job));

  const auto events = store_->Events("a", 1, 10);
  ASSERT_THAT(events, IsOk());
  v1::JobEvent first = SampleEvent(v1::EVENT_KIND_RESULT, "first");
  first.set_sequence(2);
  v1::JobEvent second = SampleEvent(v1::EVENT_KIND_STATE, "second");
  second.set_sequence(3);
  EXPECT_THAT(*events, ElementsAre(SameAs(first), SameAs(second)));
}

TEST_F(StoreJobsTest, EventsAreNumberedWithoutGapsAndPaged) {
  v1::Job job = Create("a");
  for (int i = 0; i < 5; ++i) {
    ASSERT_THAT(store_->UpdateJob({job, {SampleEvent(v1::EVENT_KIND_STATE)}}), IsOk());
  }
  const auto page = store_->Events("a", 2, 3);
  ASSERT_THAT(page, IsOk());
  ASSERT_EQ(page->size(), 3u);
  for (int64_t i = 0; i < 3; ++i) EXPECT_EQ((*page)[static_cast<size_t>(i)].sequence(), 3 + i);
  EXPECT_EQ(store_->Events("a", 0, 100)->size(), 6u);
  EXPECT_THAT(*store_->Events("a", 6, 100), IsEmpty());
  EXPECT_THAT(*store_->Events("a", 0, 0), IsEmpty());
}

TEST_F(StoreJobsTest, NumericsIdStaysOnceFixed) {
  v1::Job job = Create("a");
  ASSERT_THAT(store_->AddTasks({SampleTask("a", 0), SampleTask("a", 1)}), IsOk());
  ASSERT_THAT(LeaseTask(*store_, "a", 1, "w", "avx512", 0, 1), IsOk());
  ASSERT_THAT(store_->UpdateJob({job, {}}), IsOk());  // read before the lease
  EXPECT_EQ(store_->GetJob("a")->numerics_id(), "avx512");
  EXPECT_THAT(LeaseTask(*store_, "a", 2, "w", "neon", 0, 1),
              Fails(StatusCode::kFailedPrecondition, "\"neon\""));
  job.set_numerics_id("neon");
  EXPECT_THAT(store_->UpdateJob({job, {}}), Fails(StatusCode::kFailedPrecondition, "\"avx512\""));
}

TEST_F(StoreJobsTest, ListsNewestFirstInPages) {
  for (const char* id : {"a", "b", "c", "d", "e"}) Create(id);
  v1::ListJobsRequest request;
  request.set_page_size(2);
  auto page = store_->ListJobs(request);
  ASSERT_THAT(page, IsOk());
  EXPECT_THAT(Ids(*page), ElementsAre("e", "d"));
  Create("f");  // does not shift the next page
  request.set_page_token(page->next_page_token());
  page = store_->ListJobs(request);
  EXPECT_THAT(Ids(*page), ElementsAre("c", "b"));
  request.set_page_token(page->next_page_token());
  page = store_->ListJobs(request);
  EXPECT_THAT(Ids(*page), ElementsAre("a"));
  EXPECT_EQ(page->next_page_token(), "");
}

TEST_F(StoreJobsTest, ListsByState) {
  for (const char* id : {"a", "b", "c"}) Create(id);
  SetState("a", v1::JOB_STATE_FAILED);
  SetState("c", v1::JOB_STATE_SEARCHING);
  v1::ListJobsRequest request;
  request.add_states(v1::JOB_STATE_FAILED);
  request.add_states(v1::JOB_STATE_SEARCHING);
  EXPECT_THAT(Ids(*store_->ListJobs(request)), ElementsAre("c", "a"));
  request.clear_states();
  request.add_states(v1::JOB_STATE_CANCELLED);
  EXPECT_THAT(Ids(*store_->ListJobs(request)), IsEmpty());
}

TEST_F(StoreJobsTest, PageSizeHasADefaultAndACap) {
  for (int i = 0; i < 105; ++i) Create("job" + std::to_string(i));
  v1::ListJobsRequest request;
  EXPECT_EQ(store_->ListJobs(request)->jobs_size(), 20);
  request.set_page_size(1000);
  EXPECT_EQ(store_->ListJobs(request)->jobs_size(), 100);
  request.set_page_size(-1);
  EXPECT_THAT(store_->ListJobs(request), Fails(StatusCode::kInvalidArgument, "-1"));
}

TEST_F(StoreJobsTest, RefusesATokenOfAnotherQuery) {
  for (const char* id : {"a", "b", "c"}) Create(id);
  v1::ListJobsRequest request;
  request.set_page_size(1);
  const std::string token = store_->ListJobs(request)->next_page_token();
  ASSERT_NE(token, "");
  request.set_page_token(token);
  request.set_page_size(2);  // the size may change
  EXPECT_THAT(Ids(*store_->ListJobs(request)), ElementsAre("b", "a"));
  request.add_states(v1::JOB_STATE_QUEUED);
  EXPECT_THAT(store_->ListJobs(request), Fails(StatusCode::kInvalidArgument, "another query"));
  v1::ListWorkersRequest workers;
  workers.set_page_token(token);
  EXPECT_THAT(store_->ListWorkers(workers), Fails(StatusCode::kInvalidArgument, "another query"));
  for (const char* bad : {"!", "AAAA", "x"}) {
    request.set_page_token(bad);
    EXPECT_THAT(store_->ListJobs(request), Fails(StatusCode::kInvalidArgument, "page_token"));
  }
}

TEST_F(StoreJobsTest, UnfinishedJobsAreThoseWithoutAnEndOldestFirst) {
  for (const char* id : {"a", "b", "c", "d", "e"}) Create(id);
  SetState("b", v1::JOB_STATE_SUCCEEDED);
  SetState("c", v1::JOB_STATE_FINISHING);
  SetState("d", v1::JOB_STATE_CANCELLED);
  SetState("e", v1::JOB_STATE_FAILED);
  const auto jobs = store_->UnfinishedJobs();
  ASSERT_THAT(jobs, IsOk());
  ASSERT_EQ(jobs->size(), 2u);
  EXPECT_EQ((*jobs)[0].id(), "a");
  EXPECT_EQ((*jobs)[1].id(), "c");
}

TEST_F(StoreJobsTest, CheckpointIsTheLastCommittedOne) {
  Create("a");
  EXPECT_THAT(store_->Checkpoint("a"), Fails(StatusCode::kNotFound, "\"a\""));
  const std::string binary("\0weights\xff", 9);
  ASSERT_THAT(Commit("a", {SampleEpisode("a", 0)}, "old"), IsOk());
  ASSERT_THAT(Commit("a", {SampleEpisode("a", 1)}, binary), IsOk());
  EXPECT_EQ(*store_->Checkpoint("a"), binary);
}

TEST_F(StoreJobsTest, DeleteTakesAllThatBelongsToTheJobAndNothingElse) {
  for (const char* id : {"a", "b"}) {
    Create(id);
    ASSERT_THAT(store_->AddTasks({SampleTask(id, 0), SampleTask(id, 7)}), IsOk());
    ASSERT_THAT(LeaseTask(*store_, id, 1, "w", "n", 0, 1), IsOk());
    ASSERT_THAT(store_->CompleteTask(id, 1, 1, SampleResult(), 2), IsOk());
    ASSERT_THAT(Commit(id, {SampleEpisode(id, 0)}), IsOk());
  }
  EXPECT_THAT(store_->DeleteJob("a"), Fails(StatusCode::kFailedPrecondition, "QUEUED"));
  SetState("a", v1::JOB_STATE_CANCELLED);
  ASSERT_THAT(store_->DeleteJob("a"), IsOk());
  EXPECT_THAT(store_->GetJob("a"), Fails(StatusCode::kNotFound, "\"a\""));
  EXPECT_THAT(store_->DeleteJob("a"), Fails(StatusCode::kNotFound, "\"a\""));

  // The same id again finds nothing of its forerunner.
  Create("a");
  EXPECT_THAT(*store_->Tasks("a"), IsEmpty());
  EXPECT_THAT(*store_->Attempts("a"), IsEmpty());
  EXPECT_EQ(store_->Events("a", 0, 100)->size(), 1u);
  EXPECT_THAT(store_->Checkpoint("a"), Fails(StatusCode::kNotFound, ""));
  EXPECT_THAT(store_->BestEpisode("a"), Fails(StatusCode::kNotFound, ""));

  EXPECT_EQ(store_->Tasks("b")->size(), 1u);
  EXPECT_EQ(store_->Attempts("b")->size(), 1u);
  EXPECT_EQ(store_->Events("b", 0, 100)->size(), 2u);
  EXPECT_THAT(store_->GetEpisode("b", 0), IsOk());
  EXPECT_THAT(store_->Checkpoint("b"), IsOk());
}

TEST_F(StoreJobsTest, WorkersArePutByUuidAndListedInPages) {
  for (const char* uuid : {"c", "a", "b"}) {
    v1::Worker worker;
    worker.set_uuid(uuid);
    worker.set_state(v1::WORKER_STATE_IDLE);
    ASSERT_THAT(store_->PutWorker(worker), IsOk());
  }
  v1::Worker busy;
  busy.set_uuid("b");
  busy.set_state(v1::WORKER_STATE_BUSY);
  busy.mutable_lease()->set_job("j");
  ASSERT_THAT(store_->PutWorker(busy), IsOk());

  v1::ListWorkersRequest request;
  request.set_page_size(2);
  const auto first = store_->ListWorkers(request);
  ASSERT_THAT(first, IsOk());
  ASSERT_EQ(first->workers_size(), 2);
  EXPECT_EQ(first->workers(0).uuid(), "a");
  EXPECT_THAT(first->workers(1), SameAs(busy));
  request.set_page_token(first->next_page_token());
  const auto second = store_->ListWorkers(request);
  ASSERT_EQ(second->workers_size(), 1);
  EXPECT_EQ(second->workers(0).uuid(), "c");
  EXPECT_EQ(second->next_page_token(), "");
  EXPECT_THAT(store_->PutWorker(v1::Worker()), Fails(StatusCode::kInvalidArgument, "uuid"));
}

TEST_F(StoreJobsTest, WorkersNotSeenForLongAreDropped) {
  for (int64_t seen : {100, 200, 300}) {
    v1::Worker worker;
    worker.set_uuid("w" + std::to_string(seen));
    worker.set_last_seen_ms(seen);
    ASSERT_THAT(store_->PutWorker(worker), IsOk());
  }
  ASSERT_THAT(store_->DropWorkers(100, {}), IsOk());  // none was last seen before that
  EXPECT_EQ(store_->ListWorkers({})->workers_size(), 3);
  ASSERT_THAT(store_->DropWorkers(300, {"w100", "unknown"}), IsOk());  // w100 is still present
  EXPECT_EQ(store_->ListWorkers({})->workers(0).uuid(), "w100");
  EXPECT_EQ(store_->ListWorkers({})->workers_size(), 2);
  ASSERT_THAT(store_->DropWorkers(300, {}), IsOk());
  Reopen();
  const auto left = store_->ListWorkers({});
  ASSERT_THAT(left, IsOk());
  ASSERT_EQ(left->workers_size(), 1);
  EXPECT_EQ(left->workers(0).uuid(), "w300");
}

}  // namespace
}  // namespace amc
