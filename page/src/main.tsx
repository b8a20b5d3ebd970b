/** The shell of the page: navigation, keys, the paste box, and which page an address shows. */
import { render } from "preact";
import { ErrorBoundary, LocationProvider, Route, Router } from "preact-iso";
import { connect, onNews } from "./data/live.ts";
import { askForSession } from "./data/session.ts";
import { Announcer, toast } from "./parts/announcer.tsx";
import { jobTitle, outcome } from "./parts/jobs.tsx";
import { Keys } from "./parts/keys.tsx";
import { failed, onDemand, Oops } from "./parts/on_demand.tsx";
import { Navigation } from "./parts/navigation.tsx";
import { Stage } from "./player/stage.tsx";
import { Unknown } from "./pages/unknown.tsx";
import { Today } from "./pages/today.tsx";

const Activity = onDemand(() => import("./pages/activity.tsx").then((module) => module.Activity));
const Add = onDemand(() => import("./pages/add.tsx").then((module) => module.Add));
const Care = onDemand(() => import("./pages/care.tsx").then((module) => module.Care));
const Channel = onDemand(() => import("./pages/channel.tsx").then((module) => module.Channel));
const FollowPage = onDemand(() => import("./pages/follow.tsx").then((module) => module.FollowPage));
const Follows = onDemand(() => import("./pages/follows.tsx").then((module) => module.Follows));
const JobPage = onDemand(() => import("./pages/job.tsx").then((module) => module.JobPage));
const Library = onDemand(() => import("./pages/library.tsx").then((module) => module.Library));
const Login = onDemand(() => import("./pages/login.tsx").then((module) => module.Login));
const Logs = onDemand(() => import("./pages/logs.tsx").then((module) => module.LogsPage));
const Missing = onDemand(() => import("./pages/missing.tsx").then((module) => module.Missing));
const Playlist = onDemand(() => import("./pages/playlist.tsx").then((module) => module.Playlist));
const Search = onDemand(() => import("./pages/search.tsx").then((module) => module.Search));
const Settings = onDemand(() => import("./pages/settings.tsx").then((module) => module.SettingsPage));
const Story = onDemand(() => import("./pages/story.tsx").then((module) => module.Story));
const System = onDemand(() => import("./pages/system.tsx").then((module) => module.System));
const Watch = onDemand(() => import("./pages/watch.tsx").then((module) => module.Watch));

function Page() {
  return (
    <LocationProvider>
      <a class="skip" href="#content">To the content</a>
      <Navigation />
      <main id="content" tabIndex={-1}>
        <Stage />
        <Oops />
        <ErrorBoundary onError={failed}>
          <Router>
            <Route path="/" component={Today} />
            <Route path="/activity" component={Activity} />
            <Route path="/add" component={Add} />
            <Route path="/c/:id" component={Channel} />
            <Route path="/care" component={Care} />
            <Route path="/follow" component={Follows} />
            <Route path="/follow/:id" component={FollowPage} />
            <Route path="/j/:id" component={JobPage} />
            <Route path="/library" component={Library} />
            <Route path="/login" component={Login} />
            <Route path="/logs" component={Logs} />
            <Route path="/missing" component={Missing} />
            <Route path="/p/:id" component={Playlist} />
            <Route path="/search" component={Search} />
            <Route path="/settings" component={Settings} />
            <Route path="/system" component={System} />
            <Route path="/t/:id" component={Story} />
            <Route path="/v/:id" component={Watch} />
            <Route default component={Unknown} />
          </Router>
        </ErrorBoundary>
      </main>
      <Keys />
      <Announcer />
    </LocationProvider>
  );
}

/** Say when a job has ended, to those who see and to those who hear. */
onNews(["job"], (news) => {
  const job = news?.data.job;
  if (job && ["job.completed", "job.failed", "job.cancelled"].includes(news.type)) {
    toast(`${jobTitle(job)}: ${job.error?.message ?? outcome(job)}`);
  }
});

const root = document.getElementById("page");
if (root) {
  root.replaceChildren();
  void askForSession();
  if (location.pathname !== "/login") connect(); // after a login the whole page is loaded again
  render(<Page />, root);
}
