//! A real OBS Studio under a display that nobody sees, drawing in software.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::process::Process;
use crate::{tools, wait};

/// What [`Obs`] needs, for [`tools::require`].
pub const TOOLS: [&str; 2] = ["obs", "Xvfb"];

/// Names the profile, the scenes and the program's own files.
const NAME: &str = "moqgate";

/// An OBS that streams a clip over and over. Its settings live in a folder of its own.
pub struct Obs {
    process: Process,
    _display: Process,
    _home: tempfile::TempDir,
}

impl Obs {
    /// Starts it with the clip on its only scene, pushing to `server` with `key`. A keyframe comes every second, with
    /// B-frames in between; a lost connection is made again after a second.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    #[must_use]
    pub fn start(clip: &Path, server: &str, key: &str) -> Self {
        let home = tempfile::tempdir().expect("a folder");
        settings(home.path(), clip, server, key);
        let mut command = Command::new(tools::program("Xvfb"));
        // It chooses a free display and prints its number.
        command.args(["-displayfd", "1", "-screen", "0", "800x600x24", "-nolisten", "tcp"]);
        let display = Process::start("Xvfb", &mut command);
        let number = wait::until("the number of the display", wait::SOON, || {
            display.log().lines().into_iter().find(|line| line.parse::<u32>().is_ok())
        });
        let mut command = Command::new(tools::program("obs"));
        command.args(["--startstreaming", "--minimize-to-tray", "--multi", "--disable-updater"]);
        command.args(["--disable-missing-files-check", "--verbose"]);
        command.env("HOME", home.path()).env("XDG_RUNTIME_DIR", home.path().join("run"));
        command.env_remove("XDG_CONFIG_HOME").env_remove("WAYLAND_DISPLAY");
        command.env("DISPLAY", format!(":{number}")).env("QT_QPA_PLATFORM", "xcb");
        command.env("LIBGL_ALWAYS_SOFTWARE", "1").env("LANG", "C.UTF-8");
        Self { process: Process::start("obs", &mut command), _display: display, _home: home }
    }

    /// The process.
    #[must_use]
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

fn settings(home: &Path, clip: &Path, server: &str, key: &str) {
    let root = home.join(".config/obs-studio");
    let profile = root.join("basic/profiles").join(NAME);
    let scenes = root.join("basic/scenes");
    let run = home.join("run");
    for folder in [&profile, &scenes, &run] {
        fs::create_dir_all(folder).expect("a folder");
    }
    fs::set_permissions(&run, fs::Permissions::from_mode(0o700)).expect("a folder of ours");
    let write = |file: &Path, text: &str| fs::write(file, text).expect("a file");
    write(
        &root.join("global.ini"),
        &format!(
            "[General]\nFirstRun=true\nLicenseAccepted=true\nEnableAutoUpdates=false\nLastVersion=486539266\n\
             [Basic]\nProfile={NAME}\nProfileDir={NAME}\nSceneCollection={NAME}\nSceneCollectionFile={NAME}\n\
             [BasicWindow]\nWarnBeforeStartingStream=false\nSysTrayEnabled=false\nPreviewEnabled=false\n\
             [OBSWebSocket]\nFirstLoad=false\nServerEnabled=false\n"
        ),
    );
    write(
        &profile.join("basic.ini"),
        &format!(
            "[General]\nName={NAME}\n\
             [Video]\nBaseCX=320\nBaseCY=180\nOutputCX=320\nOutputCY=180\nFPSType=0\nFPSCommon=30\n\
             [Audio]\nSampleRate=48000\nChannelSetup=Stereo\n\
             [Output]\nMode=Simple\nReconnect=true\nRetryDelay=1\nMaxRetries=20\n\
             [SimpleOutput]\nVBitrate=400\nABitrate=96\nStreamEncoder=x264\nUseAdvanced=true\nPreset=ultrafast\n\
             x264Settings=keyint=30 bframes=2\n"
        ),
    );
    let service =
        json!({"type": "rtmp_custom", "settings": {"server": server, "key": key, "use_auth": false}});
    write(&profile.join("service.json"), &service.to_string());
    let media = json!({"is_local_file": true, "local_file": clip, "looping": true, "hw_decode": false,
        "close_when_inactive": false, "restart_on_activate": false});
    let item = json!({"name": "clip", "id": 1, "visible": true, "pos": {"x": 0.0, "y": 0.0},
        "scale": {"x": 0.5, "y": 0.5}, "align": 5, "bounds_type": 0});
    let collection = json!({"name": NAME, "current_scene": "scene", "current_program_scene": "scene",
    "scene_order": [{"name": "scene"}], "transitions": [], "groups": [], "sources": [
        {"id": "ffmpeg_source", "name": "clip", "enabled": true, "volume": 1.0, "mixers": 255, "settings": media},
        {"id": "scene", "name": "scene", "enabled": true, "settings": {"id_counter": 1, "items": [item]}},
    ]});
    write(&scenes.join(format!("{NAME}.json")), &collection.to_string());
}
