// Artifacts' metadata in the store: what is kept, what is free to go, and with whom.
#include "absl/strings/str_cat.h"
#include "tests/storage/store_fixture.h"

namespace amc {
namespace {

using absl::StatusCode;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

const std::string kModel(64, 'a'), kData(64, 'd'), kSmaller(64, 'e');
const std::string kOutcomes(64, '0'), kStep(64, '1'), kStepOutcomes(64, '2');
constexpr int64_t kUploaded = 100, kSubmitted = 200, kEnded = 300, kLater = 400;
// Before anybody used anything but after 0, which is when freed artifacts were used.
constexpr int64_t kNothing = 1;

class StoreArtifactsTest : public StoreTest {
 protected:
  void Put(const std::string& digest, int64_t now_ms = kUploaded) {
    ASSERT_THAT(store_->PutArtifact(SampleArtifact(digest, now_ms)), IsOk());
  }
  absl::Status Submit(const std::string& id, int64_t now_ms = kSubmitted) {
    v1::Job job = SampleJob(id);
    job.set_create_time_ms(now_ms);
    job.mutable_spec()->set_model(kModel);
    job.mutable_spec()->set_data(kData);
    return store_->CreateJob(job, "request-" + id, "hash", {}).status();
  }
  // The job succeeds, with kSmaller as its result.
  void End(const std::string& id) {
    v1::Job job = *store_->GetJob(id);
    job.set_state(v1::JOB_STATE_SUCCEEDED);
    job.set_end_time_ms(kEnded);
    job.mutable_result()->set_model(kSmaller);
    ASSERT_THAT(store_->UpdateJob({job, {}}), IsOk());
  }
  void MakeEndedJob(const std::string& id) {
    for (const std::string& digest : {kModel, kData}) Put(digest);
    ASSERT_THAT(Submit(id), IsOk());
    Put(kSmaller, kEnded - 10);
    End(id);
  }
  // A worker has the job's FINISH task.
  void LeaseFinish(const std::string& id) {
    ASSERT_THAT(store_->AddTasks({SampleTask(id, 0, v1::TASK_KIND_FINISH)}), IsOk());
    ASSERT_THAT(LeaseTask(*store_, id, 1, "w", "n", kSubmitted, kLater), IsOk());
  }
  // And has completed it, with kSmaller.
  void CompleteFinish(const std::string& id) {
    v1::TaskResult result;
    result.mutable_result()->set_model(kSmaller);
    ASSERT_THAT(store_->CompleteTask(id, 1, 1, result, kEnded), IsOk());
  }
  std::vector<std::string> Collect(int64_t before_ms) {
    const auto digests = store_->CollectArtifacts(before_ms);
    EXPECT_THAT(digests, IsOk());
    return digests.ok() ? *digests : std::vector<std::string>{"failed"};
  }
  int64_t UseTime(const std::string& digest) {
    return Sql(absl::StrCat("SELECT use_time_ms FROM artifacts WHERE digest = '", digest, "'"));
  }
  std::vector<std::string> Digests(const v1::ListArtifactsResponse& response) {
    std::vector<std::string> digests;
    for (const v1::Artifact& artifact : response.artifacts()) digests.push_back(artifact.digest());
    return digests;
  }
};

TEST_F(StoreArtifactsTest, KeepWhatWasPutFirstButAreUsedAnew) {
  const v1::Artifact first = SampleArtifact(kModel, kUploaded);
  EXPECT_THAT(store_->GetArtifact(kModel), Fails(StatusCode::kNotFound, kModel));
  ASSERT_THAT(store_->PutArtifact(first), IsOk());
  EXPECT_EQ(UseTime(kModel), kUploaded);
  v1::Artifact later = SampleArtifact(kModel, kLater);
  later.set_name("copy.onnx");
  ASSERT_THAT(store_->PutArtifact(later), IsOk());
  EXPECT_THAT(*store_->GetArtifact(kModel), SameAs(first));
  EXPECT_EQ(UseTime(kModel), kLater);
}

TEST_F(StoreArtifactsTest, AUseNeverMakesThemOlder) {
  Put(kModel);
  ASSERT_THAT(store_->UseArtifact(kModel, kLater), IsOk());
  EXPECT_EQ(UseTime(kModel), kLater);
  ASSERT_THAT(store_->UseArtifact(kModel, kSubmitted), IsOk());
  ASSERT_THAT(store_->PutArtifact(SampleArtifact(kModel, kSubmitted)), IsOk());
  EXPECT_EQ(UseTime(kModel), kLater);
  EXPECT_THAT(store_->UseArtifact(kData, kLater), Fails(StatusCode::kNotFound, kData));
}

TEST_F(StoreArtifactsTest, BytesAreThoseOfAll) {
  EXPECT_EQ(*store_->ArtifactBytes(), 0);
  v1::Artifact large = SampleArtifact(kData);
  large.set_size(int64_t{5} << 32);
  ASSERT_THAT(store_->PutArtifact(large), IsOk());
  Put(kModel);
  Put(kModel);
  EXPECT_EQ(*store_->ArtifactBytes(), (int64_t{5} << 32) + 12);
}

TEST_F(StoreArtifactsTest, ListedByDigestInPages) {
  for (const char c : {'c', 'a', 'e', 'b'}) Put(std::string(64, c));
  v1::ListArtifactsRequest request;
  request.set_page_size(2);
  auto page = store_->ListArtifacts(request);
  ASSERT_THAT(page, IsOk());
  EXPECT_THAT(Digests(*page), ElementsAre(std::string(64, 'a'), std::string(64, 'b')));
  EXPECT_THAT(page->artifacts(0), SameAs(SampleArtifact(std::string(64, 'a'), kUploaded)));
  // Neither what comes before the next page moves it, nor that its key has gone.
  Put(std::string(63, 'a') + "b");
  Put(std::string(64, 'd'));
  ASSERT_THAT(store_->UseArtifact(std::string(64, 'd'), kLater), IsOk());
  ASSERT_THAT(store_->UseArtifact(std::string(64, 'c'), kLater), IsOk());
  ASSERT_THAT(store_->UseArtifact(std::string(64, 'e'), kLater), IsOk());
  EXPECT_EQ(Collect(kLater).size(), 3u);
  request.set_page_token(page->next_page_token());
  page = store_->ListArtifacts(request);
  ASSERT_THAT(page, IsOk());
  EXPECT_THAT(Digests(*page), ElementsAre(std::string(64, 'c'), std::string(64, 'd')));
  request.set_page_token(page->next_page_token());
  page = store_->ListArtifacts(request);
  ASSERT_THAT(page, IsOk());
  EXPECT_THAT(Digests(*page), ElementsAre(std::string(64, 'e')));
  EXPECT_EQ(page->next_page_token(), "");
}

TEST_F(StoreArtifactsTest, PagesHaveADefaultAndACap) {
  for (int i = 0; i < 102; ++i) Put(absl::StrCat(std::string(60, '0'), 1000 + i));
  v1::ListArtifactsRequest request;
  EXPECT_EQ(store_->ListArtifacts(request)->artifacts_size(), 100);
  request.set_page_size(5000);
  const auto all = store_->ListArtifacts(request);
  EXPECT_EQ(all->artifacts_size(), 102);
  EXPECT_EQ(all->next_page_token(), "");
  request.set_page_size(-1);
  EXPECT_THAT(store_->ListArtifacts(request), Fails(StatusCode::kInvalidArgument, "-1"));
}

TEST_F(StoreArtifactsTest, ATokenOfAnotherListIsRefused) {
  for (const std::string& digest : {kModel, kData}) Put(digest);
  for (const char* uuid : {"v", "w"}) {
    v1::Worker worker;
    worker.set_uuid(uuid);
    ASSERT_THAT(store_->PutWorker(worker), IsOk());
  }
  v1::ListWorkersRequest workers;
  workers.set_page_size(1);
  v1::ListArtifactsRequest request;
  request.set_page_token(store_->ListWorkers(workers)->next_page_token());
  ASSERT_NE(request.page_token(), "");
  EXPECT_THAT(store_->ListArtifacts(request), Fails(StatusCode::kInvalidArgument, "another query"));
  request.set_page_token("no token!");
  EXPECT_THAT(store_->ListArtifacts(request), Fails(StatusCode::kInvalidArgument, "page_token"));
}

TEST_F(StoreArtifactsTest, AJobNeedsItsArtifacts) {
  EXPECT_THAT(Submit("a"), Fails(StatusCode::kNotFound, kModel));
  Put(kModel);
  EXPECT_THAT(Submit("a"), Fails(StatusCode::kNotFound, kData));
  // Nothing stays of a job that was refused, neither row nor use.
  EXPECT_THAT(store_->GetJob("a"), Fails(StatusCode::kNotFound, "\"a\""));
  EXPECT_THAT(store_->FindRequest("request-a", "hash"), Fails(StatusCode::kNotFound, ""));
  EXPECT_EQ(UseTime(kModel), kUploaded);
  Put(kData);
  ASSERT_THAT(Submit("a"), IsOk());
  EXPECT_EQ(UseTime(kModel), kSubmitted);
  EXPECT_EQ(UseTime(kData), kSubmitted);
}

TEST_F(StoreArtifactsTest, ARepeatedSubmissionNeedsThemNoMore) {
  MakeEndedJob("a");
  v1::Job again = SampleJob("b");
  again.mutable_spec()->set_model(std::string(64, 'f'));
  EXPECT_EQ(store_->CreateJob(again, "request-a", "hash", {})->id(), "a");
}

TEST_F(StoreArtifactsTest, WhatNobodyNamesGoesOnceItIsUnusedForLong) {
  Put(kModel, 100);
  Put(kData, 200);
  EXPECT_THAT(Collect(100), IsEmpty());  // used at 100, not before
  EXPECT_THAT(Collect(101), ElementsAre(kModel));
  EXPECT_THAT(store_->GetArtifact(kModel), Fails(StatusCode::kNotFound, kModel));
  EXPECT_THAT(store_->UseArtifact(kModel, kLater), Fails(StatusCode::kNotFound, kModel));
  EXPECT_EQ(*store_->ArtifactBytes(), 12);
  EXPECT_THAT(Submit("a"), Fails(StatusCode::kNotFound, kModel));
  Put(kModel, kLater);  // it may come back
  EXPECT_THAT(store_->GetArtifact(kModel), IsOk());
  EXPECT_THAT(Collect(kLater), ElementsAre(kData));
}

TEST_F(StoreArtifactsTest, WhatAJobNamesStaysHoweverOldTheJobIs) {
  MakeEndedJob("a");
  EXPECT_THAT(Collect(INT64_MAX), IsEmpty());
  for (const std::string& digest : {kModel, kData, kSmaller}) {
    EXPECT_THAT(store_->GetArtifact(digest), IsOk());
  }
}

TEST_F(StoreArtifactsTest, OutcomesAndTheResultsOfASeriesStayAndGoWithTheirJob) {
  MakeEndedJob("a");
  for (const std::string& digest : {kOutcomes, kStep, kStepOutcomes}) Put(digest);
  v1::Job job = *store_->GetJob("a");
  job.mutable_result()->set_outcomes(kOutcomes);
  job.add_series()->set_model(kStep);
  job.mutable_series(0)->set_outcomes(kStepOutcomes);
  *job.add_series() = job.result();
  ASSERT_THAT(store_->UpdateJob({job, {}}), IsOk());
  EXPECT_THAT(Collect(INT64_MAX), IsEmpty());
  ASSERT_THAT(store_->DeleteJob("a"), IsOk());
  EXPECT_THAT(Collect(kNothing),
              UnorderedElementsAre(kModel, kData, kSmaller, kOutcomes, kStep, kStepOutcomes));
}

TEST_F(StoreArtifactsTest, OutcomesOfAFinishThatTheJobHasNotTakenOverStay) {
  for (const std::string& digest : {kModel, kData, kSmaller, kOutcomes}) Put(digest);
  ASSERT_THAT(Submit("a"), IsOk());
  LeaseFinish("a");
  v1::TaskResult result;
  result.mutable_result()->set_model(kSmaller);
  result.mutable_result()->set_outcomes(kOutcomes);
  ASSERT_THAT(store_->CompleteTask("a", 1, 1, result, kEnded), IsOk());
  EXPECT_THAT(Collect(INT64_MAX), IsEmpty());
}

TEST_F(StoreArtifactsTest, WhatOnlyADeletedJobNamedGoesAtOnce) {
  MakeEndedJob("a");
  ASSERT_THAT(store_->DeleteJob("a"), IsOk());
  EXPECT_THAT(Collect(kNothing), UnorderedElementsAre(kModel, kData, kSmaller));
}

TEST_F(StoreArtifactsTest, AJobThatMayNotBeDeletedFreesNothing) {
  for (const std::string& digest : {kModel, kData}) Put(digest);
  ASSERT_THAT(Submit("a"), IsOk());
  EXPECT_THAT(store_->DeleteJob("a"), Fails(StatusCode::kFailedPrecondition, "QUEUED"));
  EXPECT_EQ(UseTime(kModel), kSubmitted);
}

TEST_F(StoreArtifactsTest, WhatAnotherJobNamesStaysInWhicheverOrderTheyGo) {
  for (const bool older_first : {true, false}) {
    MakeEndedJob("a");
    ASSERT_THAT(Submit("b", kSubmitted + 50), IsOk());
    SetState("b", v1::JOB_STATE_CANCELLED);
    ASSERT_THAT(store_->DeleteJob(older_first ? "a" : "b"), IsOk());
    if (older_first) {
      EXPECT_THAT(Collect(kNothing), ElementsAre(kSmaller));
    } else {
      EXPECT_THAT(Collect(INT64_MAX), IsEmpty());
    }
    EXPECT_THAT(store_->GetArtifact(kModel), IsOk());
    ASSERT_THAT(store_->DeleteJob(older_first ? "b" : "a"), IsOk());
    const std::vector<std::string> collected = Collect(kNothing);
    EXPECT_EQ(collected.size(), older_first ? 2u : 3u);
    EXPECT_EQ(*store_->ArtifactBytes(), 0);
  }
}

// The server went down, or the job was cancelled, between the task's end and the job's.
TEST_F(StoreArtifactsTest, AResultStaysBeforeItsJobHasTakenItOver) {
  for (const bool cancelled : {false, true}) {
    for (const std::string& digest : {kModel, kData}) Put(digest);
    ASSERT_THAT(Submit("a"), IsOk());
    LeaseFinish("a");
    Put(kSmaller, kEnded - 10);
    CompleteFinish("a");
    if (cancelled) SetState("a", v1::JOB_STATE_CANCELLED);
    EXPECT_THAT(Collect(INT64_MAX), IsEmpty());
    End("a");
    EXPECT_THAT(Collect(INT64_MAX), IsEmpty());
    ASSERT_THAT(store_->DeleteJob("a"), IsOk());
    EXPECT_THAT(Collect(kNothing), UnorderedElementsAre(kModel, kData, kSmaller));
  }
}

TEST_F(StoreArtifactsTest, AResultThatItsJobNeverTookOverGoesWithIt) {
  for (const std::string& digest : {kModel, kData}) Put(digest);
  ASSERT_THAT(Submit("a"), IsOk());
  LeaseFinish("a");
  Put(kSmaller, kEnded - 10);
  CompleteFinish("a");
  v1::Job job = *store_->GetJob("a");
  job.set_state(v1::JOB_STATE_CANCELLED);
  job.set_end_time_ms(kEnded);
  ASSERT_THAT(store_->UpdateJob({job, {}}), IsOk());
  ASSERT_THAT(store_->DeleteJob("a"), IsOk());
  EXPECT_THAT(Collect(kNothing), UnorderedElementsAre(kModel, kData, kSmaller));
}

// Two jobs of one spec make the same bytes. The second one's worker has uploaded them, no row says
// so yet, and the first job is deleted.
TEST_F(StoreArtifactsTest, AResultStaysForAnotherJobThatIsAboutToNameIt) {
  for (const int64_t uploaded : {kEnded - 5, kEnded + 5}) {  // before and after the first job's end
    MakeEndedJob("a");
    ASSERT_THAT(Submit("b"), IsOk());
    LeaseFinish("b");
    ASSERT_THAT(store_->UseArtifact(kSmaller, uploaded), IsOk());
    ASSERT_THAT(store_->DeleteJob("a"), IsOk());
    EXPECT_THAT(Collect(uploaded), IsEmpty());
    CompleteFinish("b");
    EXPECT_THAT(Collect(INT64_MAX), IsEmpty());
    End("b");
    ASSERT_THAT(store_->DeleteJob("b"), IsOk());
    Collect(INT64_MAX);
    EXPECT_EQ(*store_->ArtifactBytes(), 0);
  }
}

TEST_F(StoreArtifactsTest, AResultDoesNotStayForAJobOfAnotherModel) {
  MakeEndedJob("a");
  Create("b");
  LeaseFinish("b");
  ASSERT_THAT(store_->DeleteJob("a"), IsOk());
  EXPECT_THAT(Collect(kNothing), UnorderedElementsAre(kModel, kData, kSmaller));
}

// Whoever has uploaded it since the job began is about to submit a job of his own.
TEST_F(StoreArtifactsTest, WhatSomebodyHasUsedSinceStaysForAWhile) {
  MakeEndedJob("a");
  Put(kModel, kSubmitted + 1);                                      // uploaded again
  ASSERT_THAT(store_->UseArtifact(kData, kSubmitted + 1), IsOk());  // found to be there
  ASSERT_THAT(store_->UseArtifact(kSmaller, kEnded + 1), IsOk());   // the result, as a model
  ASSERT_THAT(store_->DeleteJob("a"), IsOk());
  EXPECT_THAT(Collect(kSubmitted), IsEmpty());
  EXPECT_THAT(Collect(kSubmitted + 2), UnorderedElementsAre(kModel, kData));
  EXPECT_THAT(Collect(kEnded + 2), ElementsAre(kSmaller));
}

TEST_F(StoreArtifactsTest, AUseAfterTheJobWasDeletedKeepsThem) {
  MakeEndedJob("a");
  ASSERT_THAT(store_->DeleteJob("a"), IsOk());
  ASSERT_THAT(store_->UseArtifact(kModel, kLater), IsOk());
  EXPECT_THAT(Collect(kNothing), UnorderedElementsAre(kData, kSmaller));
  ASSERT_THAT(store_->GetArtifact(kModel), IsOk());
  EXPECT_THAT(Collect(kLater + 1), ElementsAre(kModel));
}

TEST_F(StoreArtifactsTest, MeasurementsGoWithTheirModelAndOnlyWithIt) {
  // Digests that stand beside the model's in every order of text.
  const std::string before = std::string(63, 'a') + "0", after = std::string(63, 'a') + "b";
  Create("j");
  std::vector<TaskRecord> tasks;
  for (const std::string& model : {before, kModel, after}) {
    Put(model);
    for (const std::string& hash : {std::string(64, '0'), std::string(64, 'f')}) {
      tasks.push_back(SampleTask("j", static_cast<int64_t>(tasks.size())));
      tasks.back().reuse_key = absl::StrCat(model, ":", hash);
    }
  }
  ASSERT_THAT(store_->AddTasks(tasks), IsOk());
  for (int64_t task = 1; task <= 6; ++task) {
    ASSERT_THAT(LeaseTask(*store_, "j", task, "w", "n", 0, 1), IsOk());
    ASSERT_THAT(store_->CompleteTask("j", task, 1, SampleResult(), 2), IsOk());
  }
  ASSERT_THAT(store_->UseArtifact(before, kLater), IsOk());
  ASSERT_THAT(store_->UseArtifact(after, kLater), IsOk());
  ASSERT_THAT(Collect(kLater), ElementsAre(kModel));
  EXPECT_EQ(Sql("SELECT count(*) FROM measurements"), 4);
  EXPECT_EQ(
      Sql(absl::StrCat("SELECT count(*) FROM measurements WHERE reuse_key LIKE '", kModel, "%'")),
      0);
}

}  // namespace
}  // namespace amc
