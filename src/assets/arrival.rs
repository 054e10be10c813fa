//! Files on their way into the store: received piece by piece, looked at, put in place.
//!
//! A result may be half a gigabyte, and memory stays at a few pieces of [`PIECE_BYTES`] whatever its
//! length. A file that is a single piece waits in memory and is written once, as long as all those that
//! wait so have no more than [`WAITING_BYTES_MAX`]. Any other waits where putting it in place is cheap:
//!
//! | store | waits | put in place by |
//! |---|---|---|
//! | a directory | under a name of its own in [`FOLDER`] of that directory | renaming it |
//! | any other | without a name among the system's temporary files (`TMPDIR`) | sending it in parts |
//!
//! What is broken off leaves nothing behind: a file without a name ends with its process, and one
//! with a name is removed when it is dropped. A process that was killed cannot do that, so each
//! name is held by a lock, which the system takes back with the process, and the next start of a
//! server removes the names that nobody holds. Servers that share a directory leave each other's
//! alone. (What a killed process had sent of an upload in parts, the other store must forget by
//! itself.)
//!
//! Disks and hashes keep a thread busy, so each piece is written on a blocking thread; between two
//! pieces, while the source is awaited, no thread is held.

use std::{
    fs::{self, File, Permissions, TryLockError},
    io::{self, BufRead, BufReader, Cursor, ErrorKind, Read, Seek, Write},
    os::unix::fs::PermissionsExt,
    path::{Path as DirectoryPath, PathBuf},
    pin::pin,
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, TryStreamExt};
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, path::Path as ObjectPath};
use sha2::{Digest, Sha256};
use tempfile::{Builder, TempPath};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    check_length,
    content::{hexadecimal, sha256_hex},
    error::AssetError,
    file_type::FileType,
};

/// Where files wait in a store that is a directory. No account is called that.
const FOLDER: &str = "incoming";

/// Who may read and write a result, before the process's umask: whoever may with any other file of the
/// store, rather than the one user of a temporary file.
const MODE: u32 = 0o666;

/// About how much is gathered before it is written.
const PIECE_BYTES: usize = 1024 * 1024;

/// How much of files that are here may be in memory at once.
const WAITING_BYTES_MAX: u32 = 32 * 1024 * 1024;

/// How much is sent to another store at once. S3 takes no less than 5 MiB and no more than 10,000
/// parts (Amazon S3 multipart upload limits).
const PART_BYTES: u64 = 8 * 1024 * 1024;

/// Where files wait until they are put in place. Cheap to clone; clones share what may be in memory.
#[derive(Debug, Clone)]
pub struct Arrivals {
    /// [`FOLDER`] of the store's own directory; `None`: among the system's temporary files.
    folder: Option<PathBuf>,
    /// A permit for each byte that may still wait in memory.
    room: Arc<Semaphore>,
}

/// A file that is here to its last byte and not yet in its place.
#[derive(Debug)]
pub struct Arrival {
    /// The bytes.
    pub body: Body,
    /// Told from the bytes.
    pub file_type: FileType,
    /// Length in bytes.
    pub size_bytes: u64,
    /// Removes the name in the end, if it has one.
    name: Option<TempPath>,
    /// What it takes of the memory for those that wait.
    _room: Option<OwnedSemaphorePermit>,
}

/// Where the bytes of a file wait. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Body {
    /// All of them are in memory.
    Memory(Bytes),
    /// In a file.
    Disk {
        /// Open for reading and writing.
        file: Arc<File>,
        /// Counted while the bytes went by.
        sha256: Arc<str>,
    },
}

/// What reads a body, from its start and anywhere.
pub trait Reader: BufRead + Seek {}

impl<R: BufRead + Seek> Reader for R {}

impl Body {
    /// Reads the body from its start. One at a time, and on a blocking thread.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn read(&self) -> io::Result<Box<dyn Reader + '_>> {
        Ok(match self {
            Self::Memory(bytes) => Box::new(Cursor::new(bytes)),
            Self::Disk { file, .. } => {
                let mut file = &**file;
                file.rewind()?;
                Box::new(BufReader::new(file))
            }
        })
    }

    /// SHA-256 of the bytes in lower-case hexadecimal. Keeps a processor busy; it belongs on a blocking thread.
    pub fn sha256(&self) -> String {
        match self {
            Self::Memory(bytes) => sha256_hex(bytes),
            Self::Disk { sha256, .. } => sha256.to_string(),
        }
    }
}

impl Arrivals {
    /// Arrivals for the store that is `directory`; removes what killed processes left there.
    ///
    /// # Errors
    /// When the directory cannot be made or read.
    pub fn beside(directory: &DirectoryPath) -> io::Result<Self> {
        let folder = directory.join(FOLDER);
        fs::create_dir_all(&folder)?;
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if let Err(error) = remove_unheld(&path) {
                tracing::warn!(path = %path.display(), %error, "a left-over file stays");
            }
        }
        Ok(Self {
            folder: Some(folder),
            ..Self::elsewhere()
        })
    }

    /// Arrivals for any other store.
    pub fn elsewhere() -> Self {
        Self {
            folder: None,
            room: Arc::new(Semaphore::new(WAITING_BYTES_MAX as usize)),
        }
    }

    /// Receives a file of at most `bytes_max`.
    ///
    /// # Errors
    /// [`AssetError::BrokenOff`] when the source fails, [`AssetError::UnsupportedType`] as soon as
    /// the first piece shows it, [`AssetError::TooLarge`] before a byte too many is written, and
    /// [`AssetError::Storage`] when the file cannot be written.
    pub async fn receive(
        &self,
        source: impl Stream<Item = io::Result<Bytes>> + Send,
        bytes_max: u64,
    ) -> Result<Arrival, AssetError> {
        let mut source = pin!(source);
        let mut piece = next_piece(&mut source).await?;
        let file_type = FileType::sniff(&piece).ok_or(AssetError::UnsupportedType {
            allowed: "PNG, JPEG, WebP, GIF, MP4 and WebM",
        })?;
        let mut next = next_piece(&mut source).await?;
        if next.is_empty()
            && let Some(room) = self.room_for(&piece)
        {
            let size_bytes = piece.len() as u64;
            check_length(size_bytes, bytes_max)?;
            return Ok(Arrival {
                body: Body::Memory(piece),
                file_type,
                size_bytes,
                name: None,
                _room: Some(room),
            });
        }
        let arrivals = self.clone();
        let mut receipt = on_disk(move || arrivals.begin()).await?;
        while !piece.is_empty() {
            check_length(receipt.size_bytes + piece.len() as u64, bytes_max)?;
            receipt = on_disk(move || receipt.write(&piece)).await?;
            piece = next;
            next = next_piece(&mut source).await?;
        }
        on_disk(move || receipt.end(file_type)).await
    }

    fn room_for(&self, piece: &Bytes) -> Option<OwnedSemaphorePermit> {
        let length = u32::try_from(piece.len()).ok()?;
        Arc::clone(&self.room).try_acquire_many_owned(length).ok()
    }

    fn begin(&self) -> io::Result<Receipt> {
        let (file, name) = match &self.folder {
            Some(folder) => {
                let (file, name) = held_file(folder)?;
                (file, Some(name))
            }
            None => (tempfile::tempfile()?, None),
        };
        Ok(Receipt {
            file,
            name,
            hash: Sha256::new(),
            size_bytes: 0,
        })
    }
}

impl Arrival {
    /// Puts the file in its place in the store, where it then is whole and durable or not at all.
    ///
    /// # Errors
    /// [`AssetError::Storage`].
    pub async fn settle(
        self,
        store: &dyn ObjectStore,
        place: &ObjectPath,
    ) -> Result<(), AssetError> {
        match (self.body, self.name) {
            (Body::Memory(bytes), _) => {
                store.put(place, bytes.into()).await?;
                Ok(())
            }
            // The lock on the file holds its name until it is renamed.
            (Body::Disk { file: _file, .. }, Some(name)) => {
                let name = name.file_name().expect("a file in a folder has a name");
                let waiting = ObjectPath::from_iter([FOLDER, &name.to_string_lossy()]);
                let renamed = store.rename(&waiting, place).await;
                // Even a file that somebody else removed is the store's failure.
                renamed.map_err(AssetError::Storage)
            }
            (Body::Disk { file, .. }, None) => send(&file, self.size_bytes, store, place).await,
        }
    }
}

/// Sends a file to another store.
async fn send(
    file: &Arc<File>,
    size_bytes: u64,
    store: &dyn ObjectStore,
    place: &ObjectPath,
) -> Result<(), AssetError> {
    let from_start = Arc::clone(file);
    on_disk(move || (&*from_start).rewind()).await?;
    if size_bytes <= PART_BYTES {
        store.put(place, next_part(file).await?.into()).await?;
        return Ok(());
    }
    let mut upload = store.put_multipart(place).await?;
    let sent = send_parts(file, upload.as_mut()).await;
    if sent.is_err()
        && let Err(error) = upload.abort().await
    {
        tracing::warn!(%error, "the store may keep parts of an upload that failed");
    }
    sent
}

async fn send_parts(file: &Arc<File>, upload: &mut dyn MultipartUpload) -> Result<(), AssetError> {
    loop {
        let part = next_part(file).await?;
        if part.is_empty() {
            break;
        }
        upload.put_part(part.into()).await?;
    }
    upload.complete().await?;
    Ok(())
}

/// The next [`PART_BYTES`], fewer at the end of the file.
async fn next_part(file: &Arc<File>) -> Result<Vec<u8>, AssetError> {
    let file = Arc::clone(file);
    on_disk(move || {
        let mut part = Vec::new();
        (&*file).take(PART_BYTES).read_to_end(&mut part)?;
        Ok(part)
    })
    .await
}

/// A file that is being received.
struct Receipt {
    file: File,
    name: Option<TempPath>,
    hash: Sha256,
    size_bytes: u64,
}

impl Receipt {
    fn write(mut self, piece: &[u8]) -> io::Result<Self> {
        self.hash.update(piece);
        self.file.write_all(piece)?;
        self.size_bytes += piece.len() as u64;
        Ok(self)
    }

    fn end(self, file_type: FileType) -> io::Result<Arrival> {
        if self.name.is_some() {
            // It is renamed as it is. (What is sent elsewhere is made durable there.)
            self.file.sync_all()?;
        }
        Ok(Arrival {
            body: Body::Disk {
                file: Arc::new(self.file),
                sha256: hexadecimal(&self.hash.finalize()).into(),
            },
            file_type,
            size_bytes: self.size_bytes,
            name: self.name,
            _room: None,
        })
    }
}

/// A new file in `folder` whose name is held until it is closed.
fn held_file(folder: &DirectoryPath) -> io::Result<(File, TempPath)> {
    loop {
        let (file, name) = Builder::new()
            .prefix("")
            .suffix(".part")
            .permissions(Permissions::from_mode(MODE))
            .tempfile_in(folder)?
            .into_parts();
        match file.lock() {
            // Where nothing can be held, nothing is taken for a left-over either.
            Err(error) if error.kind() == ErrorKind::Unsupported => {}
            held => held?,
        }
        // A server that started in the moment before the lock took it for a left-over.
        if name.try_exists()? {
            return Ok((file, name));
        }
    }
}

/// Removes a file unless somebody holds it.
fn remove_unheld(path: &DirectoryPath) -> io::Result<()> {
    // Some network file systems give such locks to writers only.
    let file = File::options().write(true).open(path)?;
    match file.try_lock() {
        Ok(()) => fs::remove_file(path),
        Err(TryLockError::WouldBlock) => Ok(()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// About [`PIECE_BYTES`] of the source or, at its end, what is left; a larger chunk is passed on as
/// it is.
async fn next_piece(
    source: &mut (impl Stream<Item = io::Result<Bytes>> + Unpin),
) -> Result<Bytes, AssetError> {
    let mut piece = BytesMut::new();
    while let Some(chunk) = source.try_next().await.map_err(AssetError::BrokenOff)? {
        if piece.is_empty() && chunk.len() >= PIECE_BYTES {
            return Ok(chunk);
        }
        piece.extend_from_slice(&chunk);
        if piece.len() >= PIECE_BYTES {
            break;
        }
    }
    Ok(piece.freeze())
}

/// Does something with a file on a blocking thread.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, AssetError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(AssetError::Interrupted)?
        .map_err(AssetError::from)
}

#[cfg(test)]
mod tests;
