//! The containers that are let in.

/// The demuxers of formats that hold all there is to see, in all releases of FFmpeg so far, as FFmpeg's
/// `format_whitelist`: files, raw streams, single pictures, and sound and subtitles, of which one can say
/// that they are no video. Left out are playlists and descriptions (hls, dash, concat, sdp, rtp, imf, vobsub,
/// webm_dash_manifest, ffmetadata), scripts (lavfi, avisynth, vapoursynth), devices, and WebP: over a damaged
/// one FFmpeg ends the whole process, and they are read as images.
pub(super) const SELF_CONTAINED: &str = "\
    3dostr,4xm,aa,aac,aax,ac3,ac4,ace,acm,act,adf,adp,ads,adx,aea,afc,aiff,aix,alaw,alias_pix,alp,amr,amrnb,\
    amrwb,anm,apc,ape,apm,apng,aptx,aptx_hd,apv,aqtitle,argo_asf,argo_brp,argo_cvg,asf,asf_o,ass,ast,au,av1,\
    avi,avr,avs,avs2,avs3,bethsoftvid,bfi,bfstm,bin,bink,binka,bit,bitpacked,bmp_pipe,bmv,boa,bonk,\
    brender_pix,brstm,c93,caf,cavsvideo,cdg,cdxl,cine,codec2,codec2raw,cri_pipe,daud,dcstr,dds_pipe,derf,dfa,\
    dfpwm,dhav,dirac,dnxhd,dpx_pipe,dsf,dsicin,dss,dts,dtshd,dv,dvbsub,dvbtxt,dxa,ea,ea_cdata,eac3,epaf,evc,\
    exr_pipe,f32be,f32le,f64be,f64le,film_cpk,filmstrip,fits,flac,flic,flv,frm,fsb,fwse,g722,g723_1,g726,\
    g726le,g728,g729,gdv,gem_pipe,genh,gif,gif_pipe,gsm,gxf,h261,h263,h264,hca,hcom,hdr_pipe,hevc,hnm,iamf,\
    ico,idcin,idf,iff,ifv,ilbc,image2,ingenient,ipmovie,ipu,ircam,iss,iv8,ivf,ivr,j2k_pipe,jacosub,jpeg_pipe,\
    jpegls_pipe,jpegxl_anim,jpegxl_pipe,jpegxs_pipe,jv,kux,kvag,laf,libgme,libopenmpt,live_flv,lmlm4,loas,\
    lrc,luodat,lvf,lxf,m4v,matroska,mca,mcc,mgsts,microdvd,mjpeg,mjpeg_2000,mlp,mlv,mm,mmf,mods,moflex,mov,\
    mp3,mpc,mpc8,mpeg,mpegts,mpegtsraw,mpegvideo,mpjpeg,mpl2,mpsub,msf,msnwctcp,msp,mtaf,mtv,mulaw,musx,mv,\
    mvi,mxf,mxg,nc,nistsphere,nsp,nsv,nut,nuv,obu,ogg,oma,osq,paf,pam_pipe,pbm_pipe,pcx_pipe,pdv,pfm_pipe,\
    pgm_pipe,pgmyuv_pipe,pgx_pipe,phm_pipe,photocd_pipe,pictor_pipe,pjs,pmp,png_pipe,pp_bnk,ppm_pipe,\
    psd_pipe,psxstr,pva,pvf,qcp,qdraw_pipe,qoi_pipe,r3d,rawvideo,rcwt,realtext,redspark,rka,rl2,rm,roq,rpl,\
    rsd,rso,s16be,s16le,s24be,s24le,s32be,s32le,s337m,s8,sami,sbc,sbg,scc,scd,sdns,sdr2,sds,sdx,ser,sga,\
    sgi_pipe,shn,siff,simbiosis_imx,sln,smjpeg,smk,smush,sol,sox,spdif,srt,stl,subviewer,subviewer1,\
    sunrast_pipe,sup,svag,svg_pipe,svs,swf,tak,tedcaptions,thp,tiertexseq,tiff_pipe,tmv,truehd,tta,tty,txd,\
    ty,u16be,u16le,u24be,u24le,u32be,u32le,u8,usm,v210,v210x,vag,vbn_pipe,vc1,vc1test,vidc,vividas,vivo,vmd,\
    voc,vpk,vplayer,vqf,vvc,w64,wady,wav,wc3movie,webvtt,wsaud,wsd,wsvqa,wtv,wv,wve,xa,xbin,xbm_pipe,xmd,xmv,\
    xpm_pipe,xvag,xwd_pipe,xwma,yop,yuv4mpegpipe";

#[cfg(test)]
mod tests {
    use super::*;

    /// Demuxers by name that open other files or addresses, run scripts, read devices, or abort.
    const KEPT_OUT: [&str; 24] = [
        "applehttp",
        "avisynth",
        "concat",
        "concatf",
        "dash",
        "dvdvideo",
        "ffmetadata",
        "fbdev",
        "hls",
        "image2pipe",
        "imf",
        "kmsgrab",
        "lavfi",
        "libcdio",
        "rtp",
        "rtsp",
        "sap",
        "sdp",
        "vapoursynth",
        "video4linux2",
        "vobsub",
        "webm_dash_manifest",
        // FFmpeg ends the whole process over damaged ones.
        "webp_anim",
        "webp_pipe",
    ];

    #[test]
    fn no_demuxer_that_opens_others_or_aborts_is_let_in() {
        let let_in: Vec<&str> = SELF_CONTAINED.split(',').collect();
        for name in KEPT_OUT {
            assert!(!let_in.contains(&name), "{name}");
        }
        assert!(let_in.is_sorted(), "kept in order, so that none stands there twice");
        assert!(
            let_in.iter().all(|name| !name.is_empty() && !name.contains(char::is_whitespace)),
            "{let_in:?}"
        );
        for name in
            ["mov", "matroska", "avi", "mpegts", "mpeg", "flv", "asf", "gif", "apng", "ogg", "h264", "hevc"]
        {
            assert!(let_in.contains(&name), "{name}");
        }
    }
}
